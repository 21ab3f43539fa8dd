/* arm64. Once, when the struct is found: is it of the form that is
 * known here?
 */
static inline int
stolen_time_is_known(const struct pvclock_vcpu_stolen_time *area)
{
	return !READ_ONCE(area->revision) && !READ_ONCE(area->attributes);
}

static inline u64
stolen_time(const struct pvclock_vcpu_stolen_time *area)
{
	return READ_ONCE(area->stolen_time);
}
