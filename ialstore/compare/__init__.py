"""What ``ialstore compare`` runs: measuring indexes with the same data, pricing and reporting."""
