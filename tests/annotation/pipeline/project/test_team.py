"""The team: invitations by link, who did what, the activity log, guidelines."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from annotation.errors import AnnotationError
from annotation.jobs import kinds
from annotation.models import Activity, Correction, Invitation, Membership, Project
from annotation.pipeline.measure.agreement import DoubleReview, double_review
from annotation.pipeline.project import activity, members
from annotation.pipeline.review import corrections, throughput
from tests.support.factories import make_user
from tests.support.pages import Cast, judge_rows, make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast() -> Cast:
    cast = make_cast()
    judge_rows(cast.project)
    return cast


def make_link(cast: Cast, **data: object) -> str:
    fields = {"role": "reviewer", "days": 7, "once": "on"} | data
    html = cast.client("owner").post(cast.url("members/invite/"), fields).content.decode()
    found = re.search(r'id="invitation-link" value="http://testserver(/join/[^"]+/)"', html)
    assert found, html
    return found[1]


def html_of(cast: Cast, path: str, role: str = "owner") -> str:
    answer = cast.client(role).get(cast.url(path))
    assert answer.status_code == 200
    return answer.content.decode()


# --- Invitations --------------------------------------------------------------------------------------------------


def test_whoever_follows_the_link_joins_with_its_role_by_a_click(cast: Cast) -> None:
    link, client = make_link(cast), cast.client("stranger")
    assert "owner invites you to this project as Reviewer" in client.get(link).content.decode()
    assert not cast.project.memberships.filter(user=cast.users["stranger"]).exists()
    assert client.post(link)["Location"] == cast.url("")
    assert cast.project.memberships.get(user=cast.users["stranger"]).role == "reviewer"


def test_the_link_is_shown_once_and_only_its_digest_is_kept(cast: Cast) -> None:
    secret = make_link(cast).split("/")[2]
    assert secret not in html_of(cast, "members/")
    assert secret not in str(Invitation.objects.values().get())


def test_somebody_without_an_account_makes_one_although_signing_up_is_closed(cast: Cast) -> None:
    link, client = make_link(cast, role="viewer"), Client()
    answer = client.post(link, {"username": "nora", "password1": "a quiet reef", "password2": "a quiet reef"})
    assert answer["Location"] == cast.url("")
    assert cast.project.memberships.get(user__username="nora").role == "viewer"
    assert client.get(cast.url("review/")).status_code == 200
    assert client.get("/signup/").status_code in (302, 404)


def test_a_link_for_one_is_worthless_after_one(cast: Cast) -> None:
    link = make_link(cast)
    cast.client("stranger").post(link)
    second = Client()
    data = {"username": "nora", "password1": "a quiet reef", "password2": "a quiet reef"}
    assert second.post(link, data).status_code == 404
    assert not User.objects.filter(username="nora").exists()


def test_a_link_for_many_holds_until_it_is_revoked(cast: Cast) -> None:
    link = make_link(cast, once="")
    for name in ("nora", "otto"):
        client = Client()
        client.force_login(make_user(name))
        assert client.post(link).status_code == 302
    invitation = Invitation.objects.get()
    assert invitation.uses == 2
    cast.client("owner").post(cast.url(f"members/invitations/{invitation.pk}/revoke/"))
    assert cast.client("stranger").get(link).status_code == 404
    assert cast.client("stranger").post(link).status_code == 404
    assert cast.project.memberships.count() == 5


def test_a_removed_member_does_not_come_back_by_the_link_that_they_came_by(cast: Cast) -> None:
    link, other = make_link(cast, once=""), make_link(cast, once="")
    stranger = cast.client("stranger")
    stranger.post(link)
    membership = cast.project.memberships.get(user=cast.users["stranger"])
    cast.client("owner").post(cast.url(f"members/{membership.pk}/remove/"))
    assert stranger.post(link).status_code == 404
    assert not cast.project.memberships.filter(user=cast.users["stranger"]).exists()
    assert cast.client("owner").get(other).status_code == 200, "other links stay as they are"


def test_an_expired_or_invented_link_leads_nowhere(cast: Cast) -> None:
    link = make_link(cast)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for address in (link, "/join/x/", "/join/%00/"):
        answer = cast.client("stranger").get(address)
        assert answer.status_code == 404
        assert "is no longer valid" in answer.content.decode()


def test_who_is_a_member_already_keeps_the_role_and_uses_nothing_up(cast: Cast) -> None:
    link = make_link(cast, role="viewer")
    cast.client("owner").post(link)
    assert cast.project.memberships.get(user=cast.users["owner"]).role == "owner"
    assert Invitation.objects.get().uses == 0


def test_no_link_makes_an_owner_or_holds_for_ever(cast: Cast) -> None:
    owner = cast.users["owner"]
    with pytest.raises(AnnotationError, match="not “owner”"):
        members.invite(cast.project, role="owner", days=7, most_uses=1, user=owner)
    with pytest.raises(AnnotationError, match="1 to 90 days, not 365"):
        members.invite(cast.project, role="viewer", days=365, most_uses=1, user=owner)


def test_who_logs_in_first_comes_back_to_the_invitation(cast: Cast) -> None:
    link = make_link(cast)
    assert f'href="/login/?next={link}"' in Client().get(link).content.decode()


# --- Who did what -------------------------------------------------------------------------------------------------


def correct(cast: Cast, position: int, role: str, place: int, because: str = "queue") -> None:
    corrections.correct_sample(
        cast.project.samples.get(position=position).pk,
        label_id=cast.project.label_list()[place].pk,
        user=cast.users[role],
        because=because,
        answer_id=uuid4(),
        seconds=6.0,
    )


def test_the_owner_sees_counts_pace_and_agreement_of_everybody(cast: Cast) -> None:
    for position in range(4):
        correct(cast, position, "reviewer", 0)
    correct(cast, 0, "owner", 0, because="second")
    correct(cast, 1, "owner", 1, because="second")
    first, second = throughput.team_throughput(cast.project)
    assert (first.name, first.answers, first.today, first.changed) == ("reviewer", 4, 4, 2)
    assert (first.timed.rows_per_minute, first.agreed, first.compared) == (10.0, 1, 2)
    assert (second.name, second.agreement) == ("owner", 0.5)
    assert double_review(cast.project) == DoubleReview(rows=2, agreed=1, kappa=0.0)
    html = html_of(cast, "members/activity/")
    assert "Labelled twice: 2 rows; the two agreed on 1" in html


def test_what_was_taken_back_counts_for_nobody(cast: Cast) -> None:
    correct(cast, 0, "reviewer", 1)
    corrections.undo_answer(cast.project, user=cast.users["reviewer"], answer_id=uuid4())
    assert Correction.objects.count() == 2
    assert throughput.team_throughput(cast.project) == []


def test_only_owners_see_who_did_what(cast: Cast) -> None:
    assert cast.client("reviewer").get(cast.url("members/activity/")).status_code == 403
    assert "Activity log" not in html_of(cast, "members/", role="reviewer")


def test_what_people_do_is_written_down(cast: Cast) -> None:
    owner = cast.client("owner")
    member = cast.project.memberships.get(role="viewer")
    owner.post(cast.url(f"members/{member.pk}/role/"), {"role": "reviewer"})
    owner.post(cast.url("export/start/"), {"format": "csv"})
    owner.post(cast.url("rounds/start/"), {"started_from": "slm"})
    stage = cast.project.stages.order_by("-pk").first()
    assert stage
    owner.post(cast.url(f"stages/{stage.pk}/pause/"))
    owner.post(cast.url(f"stages/{stage.pk}/cancel/"))
    owner.post(cast.url("members/guidelines/"), {"guidelines": "Be kind.", "double_review_percent": 10})
    cast.client("stranger").post(make_link(cast))
    said = [f"{event.user} {event.verb} {event.what}" for event in Activity.objects.order_by("pk")]
    assert said == [
        "owner role viewer: Reviewer",
        "owner exported csv",
        "owner started round 2 (SLM filtering)",
        "owner paused SLM filtering",
        "owner cancelled SLM filtering",
        "owner configured guidelines",
        "owner invited Reviewer",
        "stranger joined Reviewer",
    ]
    html = html_of(cast, "members/activity/")
    assert "started: round 2 (SLM filtering)" in html


def test_a_changed_budget_and_a_try_out_are_written_down(cast: Cast) -> None:
    owner = cast.client("owner")
    owner.post(cast.url("labeling/budget/"), {"budget_tokens": "5000", "price_in": "2"})
    owner.post(cast.url("labeling/budget/"), {"budget_tokens": "5000", "price_in": "2"})  # nothing new
    owner.post(cast.url("configure/trial/start/"))
    assert [(each.verb, each.what) for each in Activity.objects.order_by("id")] == [
        ("configured", "budget: none in money, 5,000 in tokens; prices 2 and 0"),
        ("started", kinds.TRIAL.name),
    ]


def test_a_long_log_is_read_page_by_page(cast: Cast) -> None:
    for number in range(60):
        activity.record(
            cast.project, user=cast.users["owner"], verb=Activity.Verb.CONFIGURED, what=f"thing {number:02}"
        )
    html = html_of(cast, "members/activity/")
    assert "thing 59" in html
    assert "thing 09" not in html
    older = re.search(r'href="(\?before=\d+)"', html)
    assert older
    assert "thing 09" in html_of(cast, f"members/activity/{older[1]}")


def test_an_entry_of_the_log_is_never_changed(cast: Cast) -> None:
    activity.record(cast.project, user=cast.users["owner"], verb=Activity.Verb.STARTED, what="x")
    entry = Activity.objects.get()
    with pytest.raises(RuntimeError, match="written once"):
        entry.save()


# --- Guidelines ---------------------------------------------------------------------------------------------------


def test_owners_write_the_guidelines_and_everybody_reads_them(cast: Cast) -> None:
    text = "## Sarcasm\n\nTake it *literally*."
    answer = cast.client("owner").post(
        cast.url("members/guidelines/"), {"guidelines": text, "double_review_percent": 25}
    )
    assert answer.status_code == 302
    assert Project.objects.get(pk=cast.project.pk).double_review_percent == 25
    for role in ("viewer", "reviewer", "owner"):
        assert "Take it <em>literally</em>." in html_of(cast, "members/guidelines/", role=role)
    assert "<textarea" not in html_of(cast, "members/guidelines/", role="reviewer")
    assert "<h2>Sarcasm</h2>" in html_of(cast, "focus/", role="reviewer")


def test_nobody_else_writes_them(cast: Cast) -> None:
    for role in ("viewer", "reviewer"):
        data = {"guidelines": "mine", "double_review_percent": 0}
        assert cast.client(role).post(cast.url("members/guidelines/"), data).status_code == 403
    assert Project.objects.get(pk=cast.project.pk).guidelines == ""


def test_a_share_beyond_everything_is_refused(cast: Cast) -> None:
    answer = cast.client("owner").post(
        cast.url("members/guidelines/"), {"guidelines": "", "double_review_percent": 101}
    )
    assert answer.status_code == 400
    assert Membership.objects.count() == 3
