//! The history against real files: turns, versions, crashes, damage, full disks, backups, erasing.
mod backups;
mod crash;
mod damage;
mod erase;
mod full_disk;
mod invariants;
mod turns;
mod world;

#[test]
fn sqlite_is_new_enough_to_be_free_of_the_wal_reset_corruption() {
    assert!(chimera_history::sqlite_version() >= chimera_history::SQLITE_NEEDED);
}
