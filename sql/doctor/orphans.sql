-- How many placeholders were moved aside.
select count(*) as moved from consumer.orphans
