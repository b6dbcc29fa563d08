use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

use localdeps::{Home, ServerUser};

/// A scratch folder that only we can enter, as a clone under somebody's home is.
fn private_clone() -> (Home, std::path::PathBuf) {
    let scratch = Home::temporary().unwrap();
    let clone = scratch.dir().join("clone");
    std::fs::DirBuilder::new().mode(0o700).create(&clone).unwrap();
    (scratch, clone)
}

#[test]
fn a_clone_that_the_servers_user_cannot_reach_gets_its_state_elsewhere() {
    let (_scratch, clone) = private_clone();
    let home = Home::at(clone.join(".switchyard")).unwrap();

    let link = home.dir().join("state");
    assert_eq!(link.canonicalize().unwrap(), home.state());
    if let Some(user) = home.user() {
        assert!(link.is_symlink());
        let state = home.state().metadata().unwrap();
        assert_eq!((state.uid(), state.permissions().mode() & 0o777), (user.uid, 0o700));
    } else {
        assert!(!link.is_symlink());
    }

    let again = Home::at(clone.join(".switchyard")).unwrap();
    assert_eq!(again.state(), home.state(), "the next start finds the same state");
    if link.is_symlink() {
        std::fs::remove_dir_all(home.state()).unwrap();
    }
}

#[test]
fn a_clone_that_the_servers_user_can_reach_keeps_its_state_inside() {
    let (_scratch, clone) = private_clone();
    for dir in [clone.parent().unwrap(), &clone] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let home = Home::at(clone.join(".switchyard")).unwrap();

    assert_eq!(home.state(), clone.join(".switchyard/state").canonicalize().unwrap());
    assert_eq!(home.state().metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_home_made_again_does_not_find_the_data_of_the_one_removed() {
    let (_scratch, clone) = private_clone();
    let dir = clone.join(".switchyard");
    let first = Home::at(&dir).unwrap();
    std::fs::write(first.state().join("old"), "data").unwrap();
    std::fs::remove_dir_all(&dir).unwrap();

    let second = Home::at(&dir).unwrap();
    assert!(!second.state().join("old").exists());
    for home in [first, second] {
        let _ = std::fs::remove_dir_all(home.state());
    }
}

#[test]
fn servers_have_an_account_of_their_own_exactly_when_we_are_root() {
    let needed = ServerUser::needed().unwrap();
    assert_eq!(needed.is_some(), nix::unistd::geteuid().is_root());
    assert!(needed.is_none_or(|user| user.uid != 0));
}

#[test]
fn a_temporary_home_is_gone_after_use() {
    let home = Home::temporary().unwrap();
    let state = home.state().to_owned();
    assert!(state.exists());

    drop(home);
    assert!(!state.exists());
}
