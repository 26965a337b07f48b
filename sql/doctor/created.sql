-- What the migrations created.
select object from consumer.created
