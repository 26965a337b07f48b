-- Forget the weight and limits of a user, or those of everybody where user_id is null.
delete from consumer.user_limits where user_id is not distinct from %(user_id)s::uuid returning user_id
