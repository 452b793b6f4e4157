"""What a configuration costs a month, and what another would: estimates times prices."""

from ialstore.costing.advice import Advice, advise, cheapest
from ialstore.costing.bill import Bill, Billing, break_even
from ialstore.costing.capacity import Capacity, capacity
from ialstore.costing.configuration import Cache, Configuration, Part, Pricer

__all__ = [
    "Advice",
    "Bill",
    "Billing",
    "Cache",
    "Capacity",
    "Configuration",
    "Part",
    "Pricer",
    "advise",
    "break_even",
    "capacity",
    "cheapest",
]
