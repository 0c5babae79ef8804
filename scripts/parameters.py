"""What is wrong with values for the template's parameters. CloudFormation says it too, but later, and one at a time."""

import re


def faults(given, before, known, rules):
    """A line for each value in `given` that the template refuses, and each of its `rules` that all values together break.
    `before` has the values that a stack keeps."""
    found = [f"{name} {fault}" for name, value in given.items() for fault in faults_of(value, known[name])]
    defaults = {name: str(row["Default"]) for name, row in known.items() if "Default" in row}
    values = defaults | before | given
    sizes = [values[name] for name in ("MinSize", "MaxSize")]
    # The template's language cannot compare numbers: AWS finds this one only when it makes the group.
    if all(is_number(size) for size in sizes) and float(sizes[0]) > float(sizes[1]):
        found.append(f"MinSize is {sizes[0]!r}: more than MaxSize, which is {sizes[1]!r}")
    for rule in rules.values():
        if holds(rule["RuleCondition"], values):
            broken = [row for row in rule["Assertions"] if not holds(row["Assert"], values)]
            found += [row["AssertDescription"] for row in broken]
    return found


def holds(asked, values):
    """Does a condition of a rule hold? Of CloudFormation's functions it knows those that the template's rules call."""
    (function, operands), = asked.items()
    if function == "Fn::Equals":
        left, right = [str(values.get(one["Ref"], "")) if isinstance(one, dict) else str(one) for one in operands]
        return left == right
    return {"Fn::Not": lambda each: not each[0], "Fn::And": all}[function]([holds(one, values) for one in operands])


def faults_of(value, row):
    """What the parameter `row` of the template has against `value`. A secret value is not repeated."""
    shown = "is wrong" if row.get("NoEcho") else f"is {value[:100]!r}"
    if row["Type"] == "Number":
        if not is_number(value):
            return [f"{shown}: not a number"]
        if "MinValue" in row and float(value) < row["MinValue"]:
            return [f"{shown}: less than {row['MinValue']}"]
        if "MaxValue" in row and float(value) > row["MaxValue"]:
            return [f"{shown}: more than {row['MaxValue']}"]
    allowed = [str(one) for one in row.get("AllowedValues", [])]
    if allowed and value not in allowed:
        return [f"{shown}: not one of {', '.join(allowed)}"]
    if len(value) < row.get("MinLength", 0):
        return [f"has {len(value)} characters: at least {row['MinLength']}"]
    if "MaxLength" in row and len(value) > row["MaxLength"]:
        return [f"has {len(value)} characters: at most {row['MaxLength']}"]
    if "AllowedPattern" in row and not re.fullmatch(row["AllowedPattern"], value):
        return [f"{shown}: does not match {row['AllowedPattern']}"]
    return []


def is_number(value):
    return bool(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", value))
