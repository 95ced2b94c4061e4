//! packaging/examples/kubernetes.yaml: what Kubernetes would make of it, and what of that comes
//! to the node, there run for real.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use crate::lab::Lab;
use crate::messages::{ContainerConfig, ImageSpec, namespace};
use gpulease::door::model::lease::Sharing;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../packaging/examples/kubernetes.yaml");

/// A document as the API's own type. What that type does not know, or has in another place, is
/// lost on the way through it.
fn typed<T: DeserializeOwned + serde::Serialize>(document: &Value) -> T {
    let object: T = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&object).unwrap(), document, "something is misspelt");
    object
}

fn example() -> (RuntimeClass, Pod) {
    let documents: Vec<Value> = serde_norway::Deserializer::from_str(EXAMPLE)
        .map(|document| Value::deserialize(document).unwrap())
        .collect();
    let [class, pod] = &documents[..] else { panic!("{} documents", documents.len()) };
    (typed(class), typed(pod))
}

#[test]
fn it_is_what_kubernetes_knows() {
    let (class, pod) = example();
    let spec = pod.spec.unwrap();
    assert_eq!(spec.runtime_class_name, class.metadata.name);
    assert_eq!(class.handler, crate::lab::HANDLER);
    let names: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    for key in pod.metadata.annotations.unwrap().keys() {
        let (container, _) = key.split_once(".gpulease/").expect("of one container each");
        assert!(names.contains(&container), "{key}: no such container");
    }
}

/// As a kubelet hands it on.
fn config(container: &Container, lab: &Lab) -> ContainerConfig {
    ContainerConfig {
        image: Some(ImageSpec { image: container.image.clone().unwrap() }),
        command: container.command.clone().unwrap(),
        ..lab.container(&container.name)
    }
}

#[test]
fn it_does_what_it_says() {
    let Some(lab) = Lab::new("h100x8") else { return };
    let (class, pod) = example();
    let annotations = pod.metadata.annotations.unwrap().into_iter().collect();
    let name = pod.metadata.name.unwrap();
    let sandbox = lab.pod_with(&name, &class.handler, annotations, namespace::CONTAINER);
    let containers = pod.spec.unwrap().containers;
    let ids: Vec<String> =
        containers.iter().map(|c| lab.start_as(&sandbox, config(c, &lab))).collect();
    let [trainer, embedder, log_shipper] = &ids[..] else { panic!("{ids:?}") };
    lab.assert_held(&[trainer, embedder]);
    lab.assert_granted(trainer);
    let whole = &lab.lease(trainer).devices[0];
    assert_eq!((whole.milli.0, whole.sharing), (1000, Sharing::Exclusive));
    lab.assert_granted(embedder);
    let share = &lab.lease(embedder).devices[0];
    assert_eq!((share.milli.0, share.sharing), (250, Sharing::Shared));
    assert_eq!(share.memory_bytes.unwrap().0, 8 << 30);
    assert_ne!(whole.index, share.index);
    lab.assert_without(lab.pid(log_shipper));
    lab.assert_without(lab.sandbox_pid(&sandbox));
    lab.remove_pod(&sandbox);
    lab.assert_all_free(8);
}
