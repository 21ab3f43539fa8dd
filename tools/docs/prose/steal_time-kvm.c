/* x86, LoongArch. One try: 1 if *steal is whole; 0 if not. */
static inline int kvm_steal_try(const struct kvm_steal_time *area,
				u64 *steal)
{
	u32 version = READ_ONCE(area->version);

	virt_rmb();
	*steal = READ_ONCE(area->steal);
	virt_rmb();
	return !(version & 1) && READ_ONCE(area->version) == version;
}

/* Does that vCPU wait for a CPU? No version guards this byte. */
static inline int
kvm_vcpu_is_preempted(const struct kvm_steal_time *area)
{
	return READ_ONCE(area->preempted) & 1;
}
