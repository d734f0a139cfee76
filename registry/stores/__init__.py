"""Where durable state goes."""
