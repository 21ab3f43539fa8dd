/* What a reader under trial implements: read the area until it has a snapshot. */
#include <stdint.h>

struct snapshot {
	uint32_t state;
	uint64_t state_entry_time;
	uint64_t time[4];
};

void read_runstate(const void *area, struct snapshot *out);
