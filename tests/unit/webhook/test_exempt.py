"""Why something was let through unjudged: by whom it may be said, and that the audit log has it."""

import json
from typing import Any

import pytest

from tidegate.findings import Mode
from tidegate.policy import Exemption, Policy, Rule, Selector, Settings
from webhook.texts import IMAGES_LIMIT

POLICY = Policy(
    base=Settings(mode=Mode.ENFORCE),
    rules=(Rule(Selector({"lets": "authors"}), Settings(mode=Mode.ENFORCE, exempt_annotation=True)),),
)
SAID = {"tidegate.dev/exempt": "debugging\x1b[2J INC-1"}
POD_SPEC = {"containers": [{"name": "c", "image": "r.example/web:1"}]}


def template(**annotations: str) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"annotations": annotations}, "spec": POD_SPEC}}}


@pytest.fixture
def lets(webhook: Any) -> Any:
    webhook.use(POLICY)
    webhook.namespaces.known["shop"] = {"lets": "authors"}
    return webhook


@pytest.mark.parametrize(
    "group, kind, document, exempt",
    [
        pytest.param("", "Pod", {"metadata": {"annotations": SAID}, "spec": POD_SPEC}, True, id="pod"),
        pytest.param("apps", "Deployment", template(**SAID), True, id="template"),
        pytest.param(
            "apps", "Deployment", {"metadata": {"annotations": SAID}, **template()}, False, id="not-on-its-pods"
        ),
        pytest.param("", "Pod", {"metadata": {"labels": SAID}, "spec": POD_SPEC}, False, id="a-label"),
        pytest.param(
            "", "Pod", {"metadata": {"annotations": {"tidegate.dev/exempt": " "}}, "spec": POD_SPEC}, False, id="blank"
        ),
    ],
)
async def test_an_author_may_say_it_where_policy_allows_it(
    lets: Any, make: Any, group: str, kind: str, document: dict[str, Any], *, exempt: bool
) -> None:
    review = make.review(document, kind=kind, group=group)
    answer = await lets.judge(review)
    assert answer.said == ((True, "allow", "exempt") if exempt else (False, "deny", "not-pinned"))
    annotations = json.loads(answer.body)["response"]["auditAnnotations"]
    assert annotations.get("exemption") == ("debugging [2J INC-1" if exempt else None)
    lets.namespaces.known["shop"] = {}
    assert (await lets.judge(review)).said == (False, "deny", "not-pinned")


async def test_reasons_of_the_configuration_are_in_the_audit_log_each_once(webhook: Any, make: Any) -> None:
    long = Exemption(namespaces=frozenset({"shop"}), reason="platform\n" + "x" * 400)
    webhook.use(Policy(base=Settings(mode=Mode.ENFORCE), exemptions=(long,)))
    spec = {"containers": [{"name": f"c{n}", "image": f"r.example/web:{n}"} for n in range(9)]}
    answer = await webhook.judge(make.review({"spec": spec}))
    said = json.loads(answer.body)["response"]["auditAnnotations"]["exemption"]
    assert said.startswith("platform?x")
    assert said.isprintable()
    assert len(said) <= IMAGES_LIMIT
    assert said.count("platform") == 1
