-- What the migrations made.
select object from consumer.created
