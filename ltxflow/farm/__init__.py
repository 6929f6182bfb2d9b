"""Many servers: the queue, the schedule, the workers, attempts and their journal."""
