"""moto's server, taught what the stack template needs: run it as `.venv/bin/python lab/moto_server.py -H … -p …`.

moto's CloudFormation skips AWS::SecretsManager::Secret, and whatever refers to the secret (user data, policies, the
scaler's environment) is then left with a hole. It also forgets the ManagedPolicyArns of a role, and a stack's VPC
cannot be deleted because its routes stay. Names and ARNs are made as CloudFormation makes them.
It also skips AWS::AutoScaling::LifecycleHook, AWS::AutoScaling::WarmPool, AWS::AutoScaling::ScalingPolicy,
AWS::CloudWatch::Alarm, AWS::S3::BucketPolicy, which the lab then reads from moto, and AWS::Lambda::Url. An update would
take a group away for a moment, and leave it at the old version of its launch
template.
It also knows no Debian 13, which images of instances begin with, and its groups launch instances of their own, of which
the launch template decides half.
"""

import copy
import json
import os
import pathlib
import re
import secrets
import string
import sys
import threading

# ECRAccessPolicy attaches AWS-managed policies; moto knows them only if told so before its import.
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")

from moto.autoscaling.models import FakeAutoScalingGroup, autoscaling_backends  # noqa: E402
from moto.awslambda.models import lambda_backends  # noqa: E402
from moto.cloudformation import parsing  # noqa: E402
from moto.cloudformation.models import Stack  # noqa: E402
from moto.cloudformation.parsing import ResourceMap  # noqa: E402
from moto.cloudwatch.models import CloudWatchBackend, cloudwatch_backends  # noqa: E402
from moto.core.common_models import CloudFormationModel  # noqa: E402
from moto.ec2.models import ec2_backends, instances  # noqa: E402
from moto.ec2.models.amis import AMIS  # noqa: E402
from moto.ec2.models.subnets import Subnet  # noqa: E402
from moto.ec2.models.vpcs import VPC  # noqa: E402
from moto.ec2.utils import convert_tag_spec, random_instance_id  # noqa: E402
from moto.iam.access_control import PermissionResult  # noqa: E402
from moto.iam.models import Role, iam_backends  # noqa: E402
from moto.kms.models import Key  # noqa: E402
from moto.logs.models import LogGroup  # noqa: E402
from moto.s3.models import FakeBucket, s3_backends  # noqa: E402
from moto.secretsmanager.models import secretsmanager_backends  # noqa: E402
from moto.server import main  # noqa: E402


def without_holes(value):
    """A policy without the nulls (or empty texts) that moto leaves where `Fn::If` chose AWS::NoValue."""
    if isinstance(value, dict):
        return {key: without_holes(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_holes(item) for item in value if item is not None and item != ""]
    return value


def generated(properties):
    """What `GenerateSecretString` stands for: letters and digits."""
    wanted = properties.get("GenerateSecretString")
    return wanted and "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(int(wanted["PasswordLength"])))


class StackSecret(CloudFormationModel):
    """A secret of a stack; its physical id is its ARN."""

    # moto files its models under the service that their module's name tells.
    __module__ = "moto.secretsmanager.models"

    def __init__(self, arn):
        self.arn = arn

    @property
    def physical_resource_id(self):
        return self.arn

    @staticmethod
    def cloudformation_name_type():
        return "Name"

    @staticmethod
    def cloudformation_type():
        return "AWS::SecretsManager::Secret"

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr == "Id"

    def get_cfn_attribute(self, attribute_name):
        return self.arn

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        # Where the template gives no name, moto makes one of stack and logical id, as CloudFormation does.
        name = properties.get("Name") or resource_name
        backend = secretsmanager_backends[account_id][region_name]
        backend.create_secret(
            name=name,
            secret_string=properties.get("SecretString") or generated(properties),
            secret_binary=None,
            description=properties.get("Description"),
            tags=properties.get("Tags", []),
            kms_key_id=properties.get("KmsKeyId"),
            client_request_token=None,
            replica_regions=[],
            force_overwrite=False,
        )
        return cls(backend.secrets[name].arn)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        properties = cloudformation_json["Properties"]
        secretsmanager_backends[account_id][region_name].update_secret(
            original_resource.arn,
            secret_string=properties.get("SecretString"),
            kms_key_id=properties.get("KmsKeyId"),
            description=properties.get("Description"),
        )
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name):
        secretsmanager_backends[account_id][region_name].delete_secret(
            resource_name, recovery_window_in_days=None, force_delete_without_recovery=True
        )


def attach_managed_policies():
    """Makes a role of a stack have the managed policies that the template names, as long as there is the role."""
    create = Role.create_from_cloudformation_json.__func__

    def create_and_attach(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        role = create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)
        for arn in cloudformation_json["Properties"].get("ManagedPolicyArns", []):
            iam_backends[account_id]["aws"].attach_role_policy(arn, role.name)
        return role

    delete = Role.delete_from_cloudformation_json.__func__

    def detach_and_delete(cls, resource_name, cloudformation_json, account_id, region_name):
        backend = iam_backends[account_id]["aws"]
        for role in [role for role in backend.roles.values() if role.name == resource_name]:
            for arn in list(role.managed_policies):
                backend.detach_role_policy(arn, role.name)
        delete(cls, resource_name, cloudformation_json, account_id, region_name)

    Role.create_from_cloudformation_json = classmethod(create_and_attach)
    Role.delete_from_cloudformation_json = classmethod(detach_and_delete)


class StackLifecycleHook(CloudFormationModel):
    """A lifecycle hook of a group; its physical id is its name."""

    __module__ = "moto.autoscaling.models"

    def __init__(self, name, group):
        self.name = name
        self.group = group

    @property
    def physical_resource_id(self):
        return self.name

    def delete(self, account_id, region_name):
        autoscaling_backends[account_id][region_name].delete_lifecycle_hook(self.group, self.name)

    @staticmethod
    def cloudformation_name_type():
        return "LifecycleHookName"

    @staticmethod
    def cloudformation_type():
        return "AWS::AutoScaling::LifecycleHook"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        name = properties.get("LifecycleHookName") or resource_name
        autoscaling_backends[account_id][region_name].create_lifecycle_hook(
            name,
            properties["AutoScalingGroupName"],
            properties["LifecycleTransition"],
            int(properties.get("HeartbeatTimeout", 3600)),
            properties.get("DefaultResult", "ABANDON"),
        )
        return cls(name, properties["AutoScalingGroupName"])

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        return cls.create_from_cloudformation_json(original_resource.name, cloudformation_json, account_id, region_name)


class StackWarmPool(CloudFormationModel):
    """The warm pool of a group; its physical id is the group's name. AWS has none for a mixed instances policy."""

    __module__ = "moto.autoscaling.models"

    def __init__(self, group):
        self.group = group

    @property
    def physical_resource_id(self):
        return self.group

    def delete(self, account_id, region_name):
        backend = autoscaling_backends[account_id][region_name]
        if self.group in backend.autoscaling_groups:
            backend.delete_warm_pool(self.group)

    @staticmethod
    def cloudformation_name_type():
        return None

    @staticmethod
    def cloudformation_type():
        return "AWS::AutoScaling::WarmPool"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        name = properties["AutoScalingGroupName"]
        group = autoscaling_backends[account_id][region_name].autoscaling_groups[name]
        if group.mixed_instances_policy:
            raise ValueError(f"You can't add a warm pool to {name}: it has a mixed instances policy")
        group.put_warm_pool(
            max_group_prepared_capacity=int(properties["MaxGroupPreparedCapacity"]),
            min_size=int(properties["MinSize"]),
            pool_state=properties.get("PoolState", "Stopped"),
            instance_reuse_policy=None,
        )
        return cls(name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        return cls.create_from_cloudformation_json(original_resource.group, cloudformation_json, account_id, region_name)


class StackScalingPolicy(CloudFormationModel):
    """A step policy of a group; its physical id is its ARN, which alarms name as their action."""

    __module__ = "moto.autoscaling.models"

    def __init__(self, policy):
        self.policy = policy

    @property
    def physical_resource_id(self):
        return self.policy.arn

    def delete(self, account_id, region_name):
        autoscaling_backends[account_id][region_name].delete_policy(self.policy.name)

    @staticmethod
    def cloudformation_name_type():
        return "PolicyName"

    @staticmethod
    def cloudformation_type():
        return "AWS::AutoScaling::ScalingPolicy"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        steps = [
            {name: int(value) for name, value in step.items()} for step in properties.get("StepAdjustments", [])
        ]
        backend = autoscaling_backends[account_id][region_name]
        return cls(backend.put_scaling_policy(
            name=resource_name,
            policy_type=properties.get("PolicyType", "SimpleScaling"),
            metric_aggregation_type=properties.get("MetricAggregationType", "Average"),
            adjustment_type=properties["AdjustmentType"],
            as_name=properties["AutoScalingGroupName"],
            min_adjustment_magnitude=None,
            scaling_adjustment=None,
            cooldown=None,
            target_tracking_config=None,
            step_adjustments=steps,
            estimated_instance_warmup=int(properties.get("EstimatedInstanceWarmup", 300)),
            predictive_scaling_configuration=None,
        ))

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        return cls.create_from_cloudformation_json(original_resource.policy.name, cloudformation_json, account_id, region_name)


class StackBucketPolicy(CloudFormationModel):
    """The policy of a bucket; its physical id is the bucket's name."""

    __module__ = "moto.s3.models"

    def __init__(self, bucket):
        self.bucket = bucket

    @property
    def physical_resource_id(self):
        return self.bucket

    def delete(self, account_id, region_name):
        s3_backends[account_id]["aws"].delete_bucket_policy(self.bucket)

    @staticmethod
    def cloudformation_name_type():
        return "Bucket"

    @staticmethod
    def cloudformation_type():
        return "AWS::S3::BucketPolicy"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        policy = json.dumps(without_holes(properties["PolicyDocument"])).encode()
        s3_backends[account_id]["aws"].put_bucket_policy(properties["Bucket"], policy)
        return cls(properties["Bucket"])

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)


class StackAlarm(CloudFormationModel):
    """An alarm on one metric; its physical id is its name. The lab evaluates it."""

    __module__ = "moto.cloudwatch.models"

    def __init__(self, name):
        self.name = name

    @property
    def physical_resource_id(self):
        return self.name

    def delete(self, account_id, region_name):
        cloudwatch_backends[account_id][region_name].delete_alarms([self.name])

    @staticmethod
    def cloudformation_name_type():
        return "AlarmName"

    @staticmethod
    def cloudformation_type():
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        name = properties.get("AlarmName") or resource_name
        alarm = cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=name,
            namespace=properties["Namespace"],
            metric_name=properties["MetricName"],
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=int(properties["EvaluationPeriods"]),
            datapoints_to_alarm=int(properties.get("DatapointsToAlarm", properties["EvaluationPeriods"])),
            period=int(properties["Period"]),
            threshold=float(properties["Threshold"]),
            statistic=properties["Statistic"],
            description=properties.get("AlarmDescription"),
            dimensions=properties.get("Dimensions", []),
            alarm_actions=properties.get("AlarmActions", []),
            treat_missing_data=properties.get("TreatMissingData"),
        )
        # As on AWS: nothing is known yet.
        alarm.state_value = "INSUFFICIENT_DATA"
        return cls(name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        return cls.create_from_cloudformation_json(original_resource.name, cloudformation_json, account_id, region_name)


class StackFunctionUrl(CloudFormationModel):
    """A function's URL, at the address where the lab serves it; its physical id is the function's ARN."""

    __module__ = "moto.awslambda.models"

    def __init__(self, function):
        self.function = function

    @property
    def physical_resource_id(self):
        return self.function.function_arn

    def delete(self, account_id, region_name):
        self.function.delete_url_config()

    @staticmethod
    def cloudformation_name_type():
        return ""

    @staticmethod
    def cloudformation_type():
        return "AWS::Lambda::Url"

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr in ("FunctionUrl", "FunctionArn")

    def get_cfn_attribute(self, attribute_name):
        return self.function.get_url_config().url if attribute_name == "FunctionUrl" else self.physical_resource_id

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        properties = cloudformation_json["Properties"]
        function = lambda_backends[account_id][region_name].get_function(properties["TargetFunctionArn"])
        config = function.create_url_config({"AuthType": properties["AuthType"]})
        # Written by the lab before this program starts; without a lab nobody serves the URL.
        served = pathlib.Path(__file__).with_name("function-urls")
        if served.exists():
            config.url = f"{served.read_text()}/{function.function_name}/"
        return cls(function)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)


def delete_routes_with_vpc():
    """Deletes a stack's route tables and gateway, which moto's CloudFormation leaves behind, before its VPC."""
    delete = VPC.delete_from_cloudformation_json.__func__

    def delete_all(cls, resource_name, cloudformation_json, account_id, region_name):
        ec2 = ec2_backends[account_id][region_name]
        for table in ec2.describe_route_tables(filters={"vpc-id": [resource_name]}):
            if not table.main_association_id:
                table._associations.clear()
                ec2.delete_route_table(table.id)
        for gateway in ec2.describe_internet_gateways(filters={"attachment.vpc-id": [resource_name]}):
            ec2.detach_internet_gateway(gateway.id, resource_name)
            ec2.delete_internet_gateway(gateway.id)
        delete(cls, resource_name, cloudformation_json, account_id, region_name)

    VPC.delete_from_cloudformation_json = classmethod(delete_all)


def update_groups_in_place():
    """Replaces a group's definition at once: moto deletes the group and makes it anew, and in between there is none.
    The group stays the one it was."""

    def update(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        group = cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)
        group._id, group.created_time = original_resource._id, original_resource.created_time
        group.warm_pool = original_resource.warm_pool
        original_resource.set_desired_capacity(0)
        return group

    FakeAutoScalingGroup.update_from_cloudformation_json = classmethod(update)


def conditions_on(parameters, template):
    """The conditions that depend on any of these parameters, by themselves or through others."""
    found = set()
    conditions = template.get("Conditions", {})
    while True:
        words = [text for name in parameters for text in (json.dumps({"Ref": name}), "${%s}" % name)] + [json.dumps({"Condition": name}) for name in found]
        more = {name for name, body in conditions.items() if any(word in json.dumps(body) for word in words)}
        if more <= found:
            return found
        found |= more


def follow_conditions():
    """Makes or deletes what an update's conditions turn on or off: moto updates it as if it were there."""
    update = parsing.parse_and_update_resource

    def update_as_conditions_say(logical_id, resource_json, resources_map, account_id, region_name):
        condition = resource_json.get("Condition")
        wanted = not condition or resources_map.lazy_condition_map[condition]
        present = resources_map._parsed_resources.get(logical_id)
        if wanted and present is not None:
            return update(logical_id, resource_json, resources_map, account_id, region_name)
        resources_map._parsed_resources.pop(logical_id, None)
        if not wanted and present is not None:
            resources_map._delete_resource(present, resource_json)
        return resources_map[logical_id] if wanted else None

    parsing.parse_and_update_resource = update_as_conditions_say


def update_launch_templates_and_their_groups():
    """Finds what else an update changes: moto overlooks `${Parameter}` in Fn::Sub, of which user data is full, and that
    a changed launch template has a new LatestVersionNumber, which changes the group that asks for it."""
    diff = ResourceMap.build_resource_diff

    def whole_diff(self, other_template, parameters=None):
        actions = diff(self, other_template, parameters)
        given = (parameters or {}).items()
        values = ["${%s}" % name for name, value in given if self.input_parameters.get(name) != value]

        def add(kind, mentioned):
            for name, resource in other_template["Resources"].items():
                known = name in self._resource_json_map and name not in actions["Modify"]
                if known and resource["Type"] == kind and any(one in json.dumps(resource) for one in mentioned):
                    actions["Modify"].append(name)

        turned = conditions_on({name for name, value in given if self.input_parameters.get(name) != value}, other_template)
        for name, resource in other_template["Resources"].items():
            if resource.get("Condition") in turned and name not in actions["Modify"] + actions["Add"]:
                actions["Modify"].append(name)
        chosen = ['"Fn::If": ["%s"' % condition for condition in turned]
        for kind in ("AWS::EC2::LaunchTemplate", "AWS::AutoScaling::AutoScalingGroup", "AWS::Lambda::Function"):
            add(kind, chosen)
        add("AWS::EC2::LaunchTemplate", values)
        versions = [json.dumps({"Fn::GetAtt": [name, "LatestVersionNumber"]}) for name in actions["Modify"]]
        add("AWS::AutoScaling::AutoScalingGroup", versions)
        # A group asks for the version that its launch template then has; a warm pool's group may only just have become
        # one that can have it.
        late = {"AWS::EC2::LaunchTemplate": 0, "AWS::AutoScaling::AutoScalingGroup": 2, "AWS::AutoScaling::WarmPool": 3}
        actions["Modify"].sort(key=lambda name: late.get(other_template["Resources"][name]["Type"], 1))
        return actions

    ResourceMap.build_resource_diff = whole_diff


def leave_permissions_to_the_endpoint():
    """Bucket policies are kept, but not decided here: moto ignores their conditions, and denies too much."""
    FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL


def keep_ownership_of_buckets():
    """Gives a stack's bucket the OwnershipControls of the template: without them ACLs are off, as on AWS."""
    create = FakeBucket.create_from_cloudformation_json.__func__

    def create_with_ownership(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        bucket = create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)
        for rule in cloudformation_json.get("Properties", {}).get("OwnershipControls", {}).get("Rules", []):
            bucket.ownership_rule = rule["ObjectOwnership"]
        return bucket

    FakeBucket.create_from_cloudformation_json = classmethod(create_with_ownership)


def keep_key_policies_as_text():
    """Makes the policy of a stack's KMS key text, as that of any other key: GetKeyPolicy fails on an object."""
    create = Key.create_from_cloudformation_json.__func__

    def create_with_text(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        key = create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)
        if not isinstance(key.policy, str):
            key.policy = json.dumps(key.policy)
        return key

    Key.create_from_cloudformation_json = classmethod(create_with_text)


def keep_role_policies_as_json():
    """Makes the inline policies of a stack's roles JSON: moto would hand them out in Python's notation."""
    put = Role.put_policy

    def put_json(self, policy_name, policy_json):
        # That of an AWS::IAM::Policy is text already, holes and all.
        policy = json.loads(policy_json) if isinstance(policy_json, str) else policy_json
        put(self, policy_name, json.dumps(without_holes(policy)))

    Role.put_policy = put_json


def end_arns_of_log_groups_as_aws_does():
    """Gives a stack's log group the Arn that permissions name, with all its streams: moto leaves `:*` away."""
    attribute = LogGroup.get_cfn_attribute
    LogGroup.get_cfn_attribute = lambda self, name: attribute(self, name) + (":*" if name == "Arn" else "")


def know_debian():
    """Debian's own image as Debian publishes it: owner, name and architecture are what one is looked up by."""
    AMIS.append({
        "ami_id": "ami-0deb1a00000000013",
        "name": "debian-13-amd64-20260601-0001",
        "description": "Debian 13 (20260601-0001)",
        "owner_id": "136693071363",
        "architecture": "x86_64",
        "image_location": "amazon/debian-13-amd64-20260601-0001",
        "image_type": "machine",
        "state": "available",
        "public": True,
        "root_device_type": "ebs",
        "root_device_name": "/dev/xvda",
        "virtualization_type": "hvm",
        "hypervisor": "xen",
    })


def keep_public_addresses_of_subnets():
    """Gives a stack's subnet the MapPublicIpOnLaunch of the template, which moto leaves out."""
    create = Subnet.create_from_cloudformation_json.__func__

    def create_with_addresses(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        subnet = create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)
        subnet.map_public_ip_on_launch = cloudformation_json["Properties"].get("MapPublicIpOnLaunch") in (True, "true")
        return subnet

    Subnet.create_from_cloudformation_json = classmethod(create_with_addresses)


def tell_metrics_by_exact_dimensions():
    """Gives the statistics of a metric with just these dimensions: moto takes those with more dimensions, too."""
    statistics = CloudWatchBackend.get_metric_statistics

    def exact(self, namespace, metric_name, start_time, end_time, period, stats, dimensions, unit=None):
        asked = {(one["Name"], one["Value"]) for one in dimensions or []}
        only = copy.copy(self)
        only.metric_data = [one for one in self.metric_data if {(d.name, d.value) for d in one.dimensions} == asked]
        return statistics(only, namespace, metric_name, start_time, end_time, period, stats, dimensions, unit)

    CloudWatchBackend.get_metric_statistics = exact


def leave_groups_to_the_lab():
    """Groups launch nothing here: the lab keeps them, and tells EC2 of the instances that it has."""
    FakeAutoScalingGroup.replace_autoscaling_group_instances = lambda self, count_needed, propagated_tags: None


def give_groups_the_tags_of_their_stack():
    """A stack's own tags are those of its groups, and of their instances: moto gives them to EC2's resources alone."""

    def then_tag(build):
        def build_and_tag(self, *args, **kwargs):
            built = build(self, *args, **kwargs)
            given = {key: value for key, value in (self.tags or {}).items() if not key.startswith("aws:")}
            for group in self._parsed_resources.values():
                if isinstance(group, FakeAutoScalingGroup):
                    group.tags = [tag for tag in group.tags if tag["Key"] not in given] + [
                        {"Key": key, "Value": value, "PropagateAtLaunch": True,
                         "ResourceId": group.name, "ResourceType": "auto-scaling-group"}
                        for key, value in given.items()
                    ]
            return built
        return build_and_tag

    ResourceMap.create = then_tag(ResourceMap.create)
    ResourceMap.update = then_tag(ResourceMap.update)
    update = Stack.update

    def update_with_tags(self, template, *args, **kwargs):
        if kwargs.get("tags") is not None:
            self.resource_map.tags = dict(kwargs["tags"])
        return update(self, template, *args, **kwargs)

    Stack.update = update_with_tags


def launch_as_the_template_says():
    """Gives an instance the id that its client token is, since the lab's instances have theirs before EC2 hears of them,
    and all that its launch template says: moto leaves out metadata options, role and the tags of volumes, and adds a
    disk of its own to those of the template."""
    run = instances.InstanceBackend.run_instances
    named = threading.local()
    instances.random_instance_id = lambda: getattr(named, "id", None) or random_instance_id()

    def run_as_said(self, image_id, count, user_data, security_group_names, **kwargs):
        template = kwargs.get("launch_template")
        data = self._get_template_from_args(template).data if template else {}
        for argument, field in (("block_device_mappings", "BlockDeviceMappings"), ("metadata_options", "MetadataOptions")):
            if data.get(field) and not kwargs.get(argument):
                kwargs[argument] = data[field]
        volume_tags = convert_tag_spec(data.get("TagSpecifications", [])).get("volume")
        if volume_tags:
            kwargs["tags"] = {"volume": volume_tags, **kwargs.get("tags", {})}
        token = kwargs.get("client_token") or ""
        named.id = token if re.fullmatch("i-[0-9a-f]{8}", token) else None
        try:
            reservation = run(self, image_id, count, user_data, security_group_names, **kwargs)
        finally:
            named.id = None
        role = data.get("IamInstanceProfile", {}).get("Arn")
        for instance in reservation.instances if role else []:
            self.associate_iam_instance_profile(instance.id, iam_instance_profile_arn=role)
        return reservation

    instances.InstanceBackend.run_instances = run_as_said


if __name__ == "__main__":
    know_debian()
    keep_public_addresses_of_subnets()
    tell_metrics_by_exact_dimensions()
    leave_groups_to_the_lab()
    give_groups_the_tags_of_their_stack()
    launch_as_the_template_says()
    keep_role_policies_as_json()
    end_arns_of_log_groups_as_aws_does()
    keep_key_policies_as_text()
    keep_ownership_of_buckets()
    leave_permissions_to_the_endpoint()
    delete_routes_with_vpc()
    attach_managed_policies()
    update_groups_in_place()
    follow_conditions()
    update_launch_templates_and_their_groups()
    sys.exit(main())
