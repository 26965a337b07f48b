-- Ask this worker's listener whether it hears.
select pg_notify('consumer_probe', %(nonce)s)
