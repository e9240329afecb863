"""From graph to kernels: outlining, memory planning, choice of schedules."""
