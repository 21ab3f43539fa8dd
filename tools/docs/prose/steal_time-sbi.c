/* RISC-V. One try: 1 if *steal is whole; 0 if not. */
static inline int sbi_steal_try(const struct sbi_sta_struct *area,
				u64 *steal)
{
	u32 sequence = READ_ONCE(area->sequence);

	virt_rmb();
	*steal = READ_ONCE(area->steal);
	virt_rmb();
	return !(sequence & 1) && READ_ONCE(area->sequence) == sequence;
}
