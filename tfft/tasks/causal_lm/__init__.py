"""Language models: texts are continued."""
