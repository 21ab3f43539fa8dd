"""What the observations rest on: one sentence each, with its source.

Law of this file: a table. What no source says and no run showed is not in it.
"""
# ruff: noqa: E501

# fmt: off
FACTS = {
    "states":    "xen/include/public/vcpu.h: RUNSTATE_* are 0 to 3",
    "flag":      "Xen commit 2529c850ea (in 4.8): the flag is set before an update and cleared after it; a reader retries while it is set",
    "masked":    "Linux commit 5ec3289b31ab (in v6.2) and Xen set the flag's byte first, the other seven follow: until then they are the old time's (seen with write watchpoints on Linux 6.12)",
    "order":     "the stores of an update come in any order between its barriers, so its parts may be old or new",
    "kvm-sum":   "KVM keeps sum(time) == state_entry_time modulo 2^64: RUNSTATE_DATA that breaks it is refused with EINVAL",
    "xen-sum":   "Xen starts state_entry_time at the vCPU's creation and the times at 0, so the difference is that moment, for ever; an idle vCPU's is 0",
    "bins":      "each time is a part of the age that state_entry_time counts (Xen and KVM account one interval to one state)",
    "wrapped":   "KVM accounted a clock that went backwards before the repair that Linux 7.3.4 has and 7.2.13 has not; the sum cannot show it",
    "snapshot":  "VCPUOP_get_runstate_info, and registering an area for a vCPU that does not run, add the time so far to time[state] and leave state_entry_time alone",
    "kvm-pad":   "KVM's update of an area in one page never writes bytes 4..7, across two pages it writes zeros there; Xen writes zeros",
    "mode":      "a vCPU that went from 32-bit to 64-bit leaves the low half of the old entry time there",
    "stale":     "Xen copies a PV area through the guest's page tables: while the vCPU is preempted in user mode it cannot, and catches up later",
    "unflagged": "KVM without KVM_XEN_ATTR_TYPE_RUNSTATE_UPDATE_FLAG (QEMU never sets it) and Xen without the VM assist update an area without any sign",
    "new":       "KVM writes state 0 and zeros when the area is registered before the first KVM_RUN",
    "same-time": "KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST with a delta of 0, and a clock that does not advance, change an area without a new state_entry_time",
    "migration": "live migration makes a new vCPU, whose times begin at 0 (Linux commit 5e25f5db6abb exists for that)",
    "monotonic": "a hypervisor only adds to a time; Xen begins at 0 again where it makes the vCPU anew, at a migration or a restore (Linux commit 5e25f5db6abb exists for that)",
    "stuck":     "an update takes microseconds; Linux before commit a795cd43c5b5 could return after a fault with the flag set, and a guest then spins in xen_get_runstate_snapshot()",
    "stopped":   "while the machine is stopped, nothing can finish an update",
}
# fmt: on
