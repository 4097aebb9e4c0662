//! Damaged files, foreign files, files of a newer version.
use crate::world::{DAY, World, files, texts};
use chimera_history::HistoryError;
use std::path::Path;

/// Overwrites every page after the first with noise: the header stays good.
fn wreck(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    for (at, byte) in bytes.iter_mut().enumerate().skip(4096) {
        *byte = (at % 251) as u8;
    }
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_kept_aside_and_the_newest_backup_is_used() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    world.turn(&history, id, "saved", "yes").await;
    let backup = history.backup_if_due().await.unwrap().unwrap();
    world.turn(&history, id, "after the backup", "lost").await;
    history.close().await;
    drop(history);
    wreck(&world.db());
    let damaged = std::fs::read(world.db()).unwrap();

    let opened = world.try_open().await.unwrap();
    let recovered = opened.recovered.unwrap();
    assert_eq!(recovered.kept_at, world.dir().join("history.damaged-20261125T112233Z.db"));
    assert_eq!(recovered.restored_from, Some(backup));
    assert_eq!(std::fs::read(&recovered.kept_at).unwrap(), damaged);
    assert_eq!(texts(&opened.history.conversation(id).await.unwrap()), ["saved", "yes"]);
}

#[tokio::test]
async fn without_a_sound_backup_the_history_starts_empty() {
    let world = World::new();
    std::fs::create_dir_all(world.dir().join("backups")).unwrap();
    std::fs::write(world.db(), "this is no database, but someone's bytes").unwrap();
    std::fs::write(world.dir().join("backups/history-2026-11-24.db"), "neither is this").unwrap();
    let opened = world.try_open().await.unwrap();
    let recovered = opened.recovered.unwrap();
    assert_eq!(recovered.restored_from, None);
    assert_eq!(std::fs::read(recovered.kept_at).unwrap(), b"this is no database, but someone's bytes");
    world.turn(&opened.history, world.id(), "works", "yes").await;
}

#[tokio::test]
async fn a_second_damage_in_the_same_second_overwrites_nothing() {
    let world = World::new();
    let mut kept = Vec::new();
    for text in ["first junk", "second junk"] {
        std::fs::create_dir_all(world.dir()).unwrap();
        std::fs::write(world.db(), text).unwrap();
        let opened = world.try_open().await.unwrap();
        opened.history.close().await;
        kept.push(opened.recovered.unwrap().kept_at);
    }
    assert_eq!(std::fs::read(&kept[0]).unwrap(), b"first junk");
    assert_eq!(std::fs::read(&kept[1]).unwrap(), b"second junk");
}

#[tokio::test]
async fn a_file_cut_short_is_damage() {
    let world = World::new();
    let history = world.open().await;
    world.turn(&history, world.id(), &"long ".repeat(5000), "yes").await;
    history.close().await;
    drop(history);
    let bytes = std::fs::read(world.db()).unwrap();
    std::fs::write(world.db(), &bytes[..bytes.len() / 2]).unwrap();
    assert!(world.try_open().await.unwrap().recovered.is_some());
}

#[tokio::test]
async fn a_file_emptied_by_someone_is_damage_when_a_backup_tells_that_it_was_not_empty() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    world.turn(&history, id, "saved", "yes").await;
    history.backup_if_due().await.unwrap();
    history.close().await;
    drop(history);
    std::fs::write(world.db(), "").unwrap();
    let opened = world.try_open().await.unwrap();
    assert!(opened.recovered.unwrap().restored_from.is_some());
    assert_eq!(texts(&opened.history.conversation(id).await.unwrap()), ["saved", "yes"]);
}

#[tokio::test]
async fn a_recovery_cut_off_between_its_two_renames_is_finished_at_the_next_start() {
    let world = World::new();
    let history = world.open().await;
    let id = world.id();
    world.turn(&history, id, "saved", "yes").await;
    history.close().await;
    drop(history);
    std::fs::rename(world.db(), world.dir().join("history.db.replacement")).unwrap();
    let history = world.open().await;
    assert_eq!(texts(&history.conversation(id).await.unwrap()), ["saved", "yes"]);
}

#[tokio::test]
async fn a_database_of_another_application_is_put_aside_untouched() {
    let world = World::new();
    std::fs::create_dir_all(world.dir()).unwrap();
    run_sql(&world.db(), "CREATE TABLE recipes (name TEXT)").await;
    let bytes = std::fs::read(world.db()).unwrap();
    let recovered = world.try_open().await.unwrap().recovered.unwrap();
    assert_eq!(std::fs::read(recovered.kept_at).unwrap(), bytes);
}

#[tokio::test]
async fn a_newer_history_is_refused_and_not_one_byte_is_written() {
    let world = World::new();
    let history = world.open().await;
    world.turn(&history, world.id(), "q", "a").await;
    history.backup_if_due().await.unwrap();
    history.close().await;
    drop(history);
    run_sql(&world.db(), "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, execution_time FROM _sqlx_migrations").await;
    let before = contents(&world.dir());
    world.advance(DAY);
    let refused = world.try_open().await;
    assert!(matches!(refused, Err(HistoryError::Newer { found: 9999, known: 1, .. })));
    assert!(contents(&world.dir()) == before, "names and bytes of every file");
}

fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let all = files(dir).into_iter().chain(files(&dir.join("backups"))).filter(|path| path.is_file());
    all.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

async fn run_sql(path: &Path, sql: &'static str) {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
