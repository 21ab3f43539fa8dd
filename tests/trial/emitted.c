/* The reader that `runstate emit c-reader` writes, under trial. */
#include "runstate_reader.h"
#include "trial.h"

void read_runstate(const void *area, struct snapshot *out)
{
	struct runstate_snapshot found;

#ifdef NATIVE
	runstate_read_64(&found, area);
#else
	runstate_read_32(&found, area);
#endif
	out->state = found.state;
	out->state_entry_time = found.state_entry_time;
	for (int i = 0; i < 4; i++)
		out->time[i] = found.time[i];
}
