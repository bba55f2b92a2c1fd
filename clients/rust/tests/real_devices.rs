//! How the devices of real nodes are followed, whoever changes them and whatever breaks.

mod nodes;

use std::process::Command;

use nodes::{config, meet, send_signals, start, within_deadline};
use spacedrive_node_client::{Device, DeviceId, DeviceLists, DeviceState, Error, NodeClient};
use tempfile::TempDir;

/// Pairs two nodes, and returns the device that the first of them has then.
async fn pair(one: &NodeClient, other: &NodeClient) -> DeviceId {
    let (shown, entered) = meet(one, other).await;
    tokio::try_join!(shown.confirmation(), entered.confirmation()).unwrap();
    tokio::try_join!(shown.accept(), entered.accept()).unwrap();
    tokio::try_join!(shown.paired(), entered.paired()).unwrap();
    shown.state().device.unwrap().device_id
}

/// The names in the next list, which is none that was there before.
async fn next_names(lists: &mut DeviceLists) -> Vec<String> {
    lists.next().await.unwrap().into_iter().map(|device| device.name).collect()
}

/// Reads lists up to one that says of a device that it is paired: no list twice.
async fn until_paired(lists: &mut DeviceLists, mut last: Vec<Device>) -> Vec<Device> {
    while last.first().is_none_or(|device| device.state != DeviceState::Paired) {
        let list = lists.next().await.unwrap();
        assert_ne!(list, last);
        last = list;
    }
    last
}

#[tokio::test]
async fn devices_are_told_whoever_changes_them() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let (anna, bruno) = tokio::join!(start(&folder, "anna"), start(&folder, "bruno"));
        let mut lists = anna.all_devices().await.unwrap();
        assert_eq!(lists.next().await, Ok(vec![]));
        let (id, paired) = tokio::join!(pair(&anna, &bruno), until_paired(&mut lists, vec![]));
        assert_eq!((paired[0].device_id, paired[0].name.as_str(), paired.len()), (id, "bruno", 1));
        assert_eq!(anna.all_devices().await.unwrap().next().await, Ok(paired));

        let another = NodeClient::connect(&anna.control).await.unwrap();
        another.rename(id, "attic").await.unwrap();
        assert_eq!(next_names(&mut lists).await, ["attic"]);
        let mut forget = Command::new(config(folder.path(), "anna").program);
        forget.args(["devices", "forget", &id.to_string(), "--yes", "--control"]).arg(&anna.control);
        assert!(forget.output().unwrap().status.success());
        assert_eq!(lists.next().await, Ok(vec![]));
    })
    .await;
}

#[tokio::test]
async fn no_change_is_missed_or_told_twice_while_parts_are_killed() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let (anna, bruno) = tokio::join!(start(&folder, "anna"), start(&folder, "bruno"));
        let id = pair(&anna, &bruno).await;
        let another = NodeClient::connect(&anna.control).await.unwrap();
        let mut lists = anna.all_devices().await.unwrap();
        assert_eq!(next_names(&mut lists).await, ["bruno"]);
        let mut connection = anna.connection();
        for (signals, name) in [
            (&[("gateway", "-KILL")][..], "gateway"),
            (&[("vault", "-KILL")], "vault"),
            (&[("gateway", "-KILL"), ("vault", "-KILL")], "both"),
        ] {
            send_signals(&anna, signals).await;
            // While its reader waits or not, and on a connection that is made again before or after.
            let renamed = async { another.rename(id, name).await.unwrap() };
            let (told, ()) = tokio::join!(next_names(&mut lists), renamed);
            assert_eq!(told, [name]);
        }
        send_signals(&anna, &[("gateway", "-KILL")]).await;
        connection.wait_for(|is_connected| !is_connected).await.unwrap();
        connection.wait_for(|is_connected| *is_connected).await.unwrap();
        another.rename(id, "again").await.unwrap();
        assert_eq!(next_names(&mut lists).await, ["again"]);
    })
    .await;
}

#[tokio::test]
async fn devices_are_followed_when_the_node_is_started_again() {
    within_deadline(async {
        let folder = TempDir::new().unwrap();
        let (anna, bruno) = tokio::join!(start(&folder, "anna"), start(&folder, "bruno"));
        let id = pair(&anna, &bruno).await;
        let client = NodeClient::connect(&anna.control).await.unwrap();
        let (mut of_own, mut lists) =
            (anna.all_devices().await.unwrap(), client.all_devices().await.unwrap());
        assert_eq!(next_names(&mut of_own).await, ["bruno"]);
        assert_eq!(next_names(&mut lists).await, ["bruno"]);
        send_signals(&client, &[("supervisor", "-KILL")]).await;
        let end = anna.ended().await;
        assert_eq!(of_own.next().await, Err(end.clone()));
        assert_eq!(anna.all_devices().await.unwrap().next().await, Err(end.clone()));
        assert!(matches!(end, Error::NodeEnded { exit_code: None, .. }), "{end}");

        let renamed = async {
            let again = start(&folder, "anna").await;
            again.rename(id, "attic").await.unwrap();
            again
        };
        let (told, _again) = tokio::join!(next_names(&mut lists), renamed);
        assert_eq!(told, ["attic"]);
    })
    .await;
}
