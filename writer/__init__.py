"""What is done to the bytes: every version of the update, as steps, and what plays them.

This file is the list of public names, by the module that has them; import them from there.

    vcpu        Runstate, Area, split, image, runstate_of
    steps       Store, Copy, Barrier, Lock ..., canonical, parse, epochs
    memory      Window, Overrun, apply, play, trace, snapshots
    host        Host: memslots and host pages; errno names
    gpc, hva    Gpc, Pfncache; Ghc: the caches of KVM, and caches.Caches that holds them
    early       Linux 5.14, 5.16, 6.1
    two_pages   the drafts of November 2022, Linux 6.2, newest upstream
    xen         Xen's virtual and physical area
    variants    VARIANTS with their sources, prepare, update, Refused
    accounting  kvm_account, xen_account: where the times come from
    rules       the rule book: judge; what it is made of is in rulebook/
    guest       READERS: how guests read
    race        find_race: a proof or an execution; what it is made of is in racing/
"""
