"""Prints what a stack really made, as JSON: picture.py STACK. Flat on purpose, so that a test can point at each fact."""

import base64
import json
import sys
from urllib.parse import unquote

import boto3

stack = sys.argv[1]
outputs = {
    row["OutputKey"]: row["OutputValue"]
    for row in boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
}
iam = boto3.client("iam")


def role(name):
    described = iam.get_role(RoleName=name)["Role"]
    inline = {
        policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
    }
    return {
        "boundary": described.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        "attached": [p["PolicyArn"] for p in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]],
        "inline": unquote(json.dumps(inline)),
    }


group = boto3.client("autoscaling").describe_auto_scaling_groups(
    AutoScalingGroupNames=[outputs["AutoScalingGroupName"]]
)["AutoScalingGroups"][0]
template = group["MixedInstancesPolicy"]["LaunchTemplate"]
spot = boto3.client("autoscaling").describe_auto_scaling_groups(
    AutoScalingGroupNames=[outputs.get("SpotGroupName", "none")]
)["AutoScalingGroups"]
ec2 = boto3.client("ec2")
launch = ec2.describe_launch_template_versions(
    LaunchTemplateId=template["LaunchTemplateSpecification"]["LaunchTemplateId"], Versions=["$Latest"]
)["LaunchTemplateVersions"][0]["LaunchTemplateData"]
scaler = boto3.client("lambda").get_function(FunctionName=outputs["ScalerFunctionName"])
security = ec2.describe_security_groups(GroupIds=launch["SecurityGroupIds"])["SecurityGroups"][0]
logs = boto3.client("logs").describe_log_groups(logGroupNamePrefix=f"/tidemark/{stack}/")["logGroups"]

print(json.dumps({
    "outputs": outputs,
    "token": boto3.client("secretsmanager").get_secret_value(SecretId=outputs["AgentTokenSecret"])["SecretString"],
    "min": group["MinSize"],
    "max": group["MaxSize"],
    "protected": group["NewInstancesProtectedFromScaleIn"],
    "subnets": group["VPCZoneIdentifier"],
    "types": [override["InstanceType"] for override in template["Overrides"]],
    "spot": [
        {
            "min": row["MinSize"],
            "max": row["MaxSize"],
            "price": row["MixedInstancesPolicy"]["InstancesDistribution"].get("SpotMaxPrice"),
            "on_demand": row["MixedInstancesPolicy"]["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"],
            "protected": row["NewInstancesProtectedFromScaleIn"],
        }
        for row in spot
    ],
    "image": launch["ImageId"],
    "key": launch.get("KeyName"),
    "metadata": launch["MetadataOptions"],
    "disk": launch["BlockDeviceMappings"][0]["Ebs"],
    "user_data": base64.b64decode(launch["UserData"]).decode(),
    "ingress": [r["CidrIp"] for rule in security["IpPermissions"] for r in rule["IpRanges"]],
    "vpc": security["VpcId"],
    "instance_role": role(outputs["InstanceRoleName"]),
    "scaler_role": role(scaler["Configuration"]["Role"].rsplit("/", 1)[1]),
    "scaler": {name: str(value) for name, value in scaler["Configuration"]["Environment"]["Variables"].items()},
    "retention": sorted({log["retentionInDays"] for log in logs}),
    "log_groups": sorted(log["logGroupName"] for log in logs),
}))
