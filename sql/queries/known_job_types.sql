-- The job types that the triggers know.
select job_type from consumer.job_types
