"""What the stack verbs and publish share: a session, the scaler's zip, and errors in one line."""

import hashlib
import os
import pathlib
import sys

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

PROJECT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = PROJECT / "cloudformation" / "ci-stack.yml"
UNAVAILABLE, DENIED, BAD_CONFIG = 69, 77, 78
DENIALS = {"AccessDenied", "AccessDeniedException", "403", "UnauthorizedOperation", "ExpiredToken", "InvalidClientTokenId"}


class Stop(Exception):
    """Ends the verb with one line for people and an exit code."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def say(text):
    print(text, file=sys.stderr, flush=True)


class Cloud:
    """Clients of one region. Credentials, profile and endpoint come from the environment, as with the AWS CLI."""

    def __init__(self, region=None):
        session = boto3.session.Session()
        self.region = region or os.environ.get("AWS_REGION") or session.region_name
        if not self.region:
            raise Stop("no region: set AWS_REGION, or a region in the profile", BAD_CONFIG)
        self._session = session
        self._config = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=60)

    def client(self, service):
        return self._session.client(service, region_name=self.region, config=self._config)

    def account(self):
        return self.client("sts").get_caller_identity()["Account"]

    def missing_image(self, parameter):
        """Why no instance could start here, or None: the SSM parameter must name an AMI of this region."""
        try:
            image = self.client("ssm").get_parameter(Name=parameter)["Parameter"]["Value"]
        except ClientError as error:
            if code_of(error) != "ParameterNotFound":
                raise
            return f"no AMI yet in {self.region}: run `make build-ami` there (it writes the SSM parameter {parameter})"
        try:
            if self.client("ec2").describe_images(ImageIds=[image])["Images"]:
                return None
        except ClientError as error:
            if not code_of(error).startswith("InvalidAMIID"):
                raise
        return f"the AMI {image} of {parameter} is not in {self.region}: run `make build-ami` there"

    def ensure_bucket(self, bucket):
        """Makes the bucket, private, unless it is there."""
        s3 = self.client("s3")
        try:
            s3.head_bucket(Bucket=bucket)
            return
        except ClientError as error:
            if code_of(error) not in ("404", "NoSuchBucket"):
                raise
        place = {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        say(f"making the bucket {bucket} in {self.region}")
        s3.create_bucket(Bucket=bucket, **place)


def template():
    """The template, with CloudFormation's short functions (!Ref …) in their long form."""
    class Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
        pass

    def function(loader, name, node):
        build = {"scalar": loader.construct_scalar, "sequence": loader.construct_sequence, "mapping": loader.construct_mapping}
        deep = {} if node.id == "scalar" else {"deep": True}
        return {name if name == "Ref" else f"Fn::{name}": build[node.id](node, **deep)}

    Loader.add_multi_constructor("!", function)
    return yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader=Loader)


def code_of(error):
    return error.response.get("Error", {}).get("Code", "")


def scaler_zip():
    """The scaler's zip and the first half of its digest: `make dist` makes it, SCALER_ZIP names another."""
    path = pathlib.Path(os.environ.get("SCALER_ZIP") or PROJECT / "target" / "dist" / "scaler.zip")
    if not path.is_file():
        raise Stop(f"no scaler at {path}: run `make dist`", BAD_CONFIG)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def run(main):
    """Runs a verb; whatever stops it becomes one line and an exit code."""
    try:
        sys.exit(main() or 0)
    except Stop as stop:
        say(f"{pathlib.Path(sys.argv[0]).name}: {stop}")
        sys.exit(stop.code)
    except ClientError as error:
        code, said = code_of(error), error.response.get("Error", {}).get("Message", "")
        say(f"{pathlib.Path(sys.argv[0]).name}: {error.operation_name}: {code}: {said}")
        sys.exit(DENIED if code in DENIALS else 1)
    except (BotoCoreError, ResponseParserError) as error:
        say(f"{pathlib.Path(sys.argv[0]).name}: {error}: check credentials (AWS_PROFILE), region and network")
        sys.exit(UNAVAILABLE)
    except KeyboardInterrupt:
        say("stopped; what CloudFormation began goes on")
        sys.exit(130)
