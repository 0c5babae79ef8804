//! The real stack template behind the endpoint: its own roles may do what they need, and nothing else.

use aws::cloudformation::types::{Capability, Parameter, StackStatus};
use aws::s3::primitives::ByteStream;

use crate::stage::Stage;

const TEMPLATE: &str = include_str!("../../../cloudformation/ci-stack.yml");
/// An empty zip archive.
const ZIP: &[u8] = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Creates the stack `ci`, and tells a physical id by its logical id.
async fn deploy(stage: &Stage) -> impl Fn(&str) -> String + use<> {
    let admin = stage.endpoint.admin();
    let images = ["ec2", "describe-images", "--max-items", "1", "--query", "Images[0].ImageId"];
    let image = stage.aws(admin, &images).await;
    let image = image.ok().split_whitespace().next().unwrap().to_owned();
    let session = stage.session(admin).await;
    let put = session.ssm().put_parameter().name("/tidemark/ami/debian13/amd64").value(image);
    put.r#type(aws::ssm::types::ParameterType::String).send().await.unwrap();
    let place = aws::s3::types::CreateBucketConfiguration::builder()
        .location_constraint(crate::stage::REGION.into())
        .build();
    let s3 = session.s3();
    s3.create_bucket().bucket("code").create_bucket_configuration(place).send().await.unwrap();
    s3.put_object().bucket("code").key("scaler.zip").body(ByteStream::from_static(ZIP)).send().await.unwrap();
    let parameter = |key, value| Parameter::builder().parameter_key(key).parameter_value(value).build();
    let stacks = session.cloudformation();
    let create = stacks.create_stack().stack_name("ci").template_body(TEMPLATE);
    let create = create
        .parameters(parameter("BuildkiteAgentToken", "t0k"))
        .parameters(parameter("BuildkiteQueue", "default"))
        .parameters(parameter("ScalerCodeBucket", "code"))
        .parameters(parameter("ScalerCodeKey", "scaler.zip"));
    create.capabilities(Capability::CapabilityIam).send().await.unwrap();
    let described = stacks.describe_stacks().stack_name("ci").send().await.unwrap();
    assert_eq!(described.stacks()[0].stack_status(), Some(&StackStatus::CreateComplete));
    let listed = stacks.describe_stack_resources().stack_name("ci").send().await.unwrap();
    move |logical: &str| {
        let found = listed.stack_resources().iter().find(|one| one.logical_resource_id() == Some(logical));
        found.and_then(|one| one.physical_resource_id()).expect(logical).to_owned()
    }
}

#[tokio::test]
async fn the_templates_roles_have_what_they_need_and_no_more() {
    let stage = Stage::up().await;
    let physical = deploy(&stage).await;
    let (bucket, token) = (physical("ManagedSecretsBucket"), physical("AgentToken"));
    let admin = stage.session(stage.endpoint.admin()).await;
    admin
        .s3()
        .put_object()
        .bucket(&bucket)
        .key("env")
        .body(ByteStream::from_static(b"A=1"))
        .send()
        .await
        .unwrap();

    let agent = stage.session(&stage.endpoint.mint_session(&physical("InstanceRole"), "i-1")).await;
    agent.s3().get_object().bucket(&bucket).key("env").send().await.unwrap();
    let absent = agent.s3().get_object().bucket(&bucket).key("absent").send().await.unwrap_err();
    assert!(absent.into_service_error().is_no_such_key());
    agent.secretsmanager().get_secret_value().secret_id(&token).send().await.unwrap();
    agent.s3().put_object().bucket(&bucket).key("env").send().await.unwrap_err();
    let group = "ci-instances";
    let scale = |session: aws::Session| {
        session.autoscaling().set_desired_capacity().auto_scaling_group_name(group).desired_capacity(0).send()
    };
    assert!(format!("{:?}", scale(agent).await.unwrap_err()).contains("SetDesiredCapacity"));

    let scaler = stage.session(&stage.endpoint.mint_session(&physical("ScalerRole"), "scaler")).await;
    scale(scaler.clone()).await.unwrap();
    scaler.secretsmanager().get_secret_value().secret_id(&token).send().await.unwrap();
    scaler.s3().get_object().bucket(&bucket).key("env").send().await.unwrap_err();
    let table = physical("ScalerState");
    let of_table = |action: &'static str, more: &[&'static str]| {
        let words = [&["dynamodb", action, "--table-name", table.as_str()], more].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let get = of_table("get-item", &["--key", r#"{"id":{"S":"a"}}"#]);
    for (role, words, may) in [
        ("ScalerRole", &get, true),
        ("InstanceRole", &get, false),
        ("ScalerRole", &of_table("scan", &[]), false),
        ("ScalerRole", &of_table("delete-table", &[]), false),
    ] {
        let who = stage.endpoint.mint_session(&physical(role), "table");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = stage.aws(&who, &words).await;
        match may {
            true => drop(output.ok()),
            false => assert!(output.err().contains("not authorized to perform"), "{role} {words:?}"),
        }
    }

    let unused = stage.endpoint.unused_allows().await.unwrap();
    let idle = |action: &str| unused.iter().any(|allow| allow.action == action);
    assert!(idle("ssm:GetParameter") && !idle("s3:GetObject"), "{unused:?}");
    stage.down().await;
}

/// moto's CloudFormation makes the policy; no tool of the lab has to carry it about.
#[tokio::test]
async fn the_buckets_policy_is_in_force_as_soon_as_the_stack_is_there() {
    let stage = Stage::up().await;
    let bucket = deploy(&stage).await("ManagedSecretsBucket");
    let admin = stage.session(stage.endpoint.admin()).await;
    let created = admin.kms().create_key().send().await.unwrap();
    let other = created.key_metadata().and_then(|key| key.arn()).unwrap();
    let put = admin.s3().put_object().bucket(&bucket).key("env").body(ByteStream::from_static(b"A=1"));
    let put = put.server_side_encryption("aws:kms".into()).ssekms_key_id(other);
    let refused = format!("{:?}", put.send().await.unwrap_err());
    assert!(refused.contains("explicit deny in a resource-based policy"), "{refused}");
    stage.down().await;
}
