"""What several people on one project need: who looks at which row, who was invited, and who did what."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotation.models.correction import Correction
from annotation.models.project import Project, Role
from annotation.models.sample import Sample


class RowClaimQuerySet(models.QuerySet["RowClaim"]):
    def live(self) -> RowClaimQuerySet:
        return self.filter(until__gt=Now())


class RowClaim(models.Model):
    """A person's hold on a row of the queue, so that nobody else is shown it meanwhile. It runs out by itself."""

    sample = models.OneToOneField(Sample, on_delete=models.CASCADE, related_name="claim")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="row_claims")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="row_claims")
    because = models.CharField(max_length=10, choices=Correction.Because.choices)
    place = models.PositiveIntegerField(help_text=_("Order among the rows that the person holds."))
    until = models.DateTimeField()

    objects = RowClaimQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["project", "user", "place"], name="claims_of_a_person")]

    def __str__(self) -> str:
        return f"row {self.sample_id} for {self.user_id} until {self.until:%H:%M:%S}"


class RowSkip(models.Model):
    """A row that a person passed over: it comes to them again only when nothing else is left."""

    sample = models.ForeignKey(Sample, on_delete=models.CASCADE, related_name="skips")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="row_skips")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["sample", "user"], name="one_skip_per_row_and_person")]

    def __str__(self) -> str:
        return f"row {self.sample_id} skipped by {self.user_id}"


class OneTimePasswordQuerySet(models.QuerySet["OneTimePassword"]):
    def is_set(self, user: User) -> bool:
        """Whether the user's password is still the one that was given to them."""
        return self.filter(user=user, password=user.password).exists()


class OneTimePassword(models.Model):
    """A password that somebody else has seen. It holds until another one is set, in whatever way."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    password = models.CharField(max_length=128, help_text=_("The user's password hash at that time."))

    objects = OneTimePasswordQuerySet.as_manager()

    def __str__(self) -> str:
        return f"one-time password of {self.user_id}"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def usable(self) -> InvitationQuerySet:
        left = Q(most_uses__isnull=True) | Q(uses__lt=F("most_uses"))
        open_now = self.filter(revoked_at__isnull=True, expires_at__gt=timezone.now())
        return open_now.filter(left, project__put_away_at__isnull=True)


class Invitation(models.Model):
    """A link that makes whoever follows it a member. Only a digest of its secret is kept."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(_("role"), max_length=10, choices=Role.choices)
    digest = models.CharField(max_length=64, unique=True)
    most_uses = models.PositiveIntegerField(null=True, blank=True, help_text=_("Empty: any number."))
    uses = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"invitation to {self.project} as {self.role}"


class Activity(models.Model):
    """Who did what in a project, beyond single corrections. Append-only."""

    class Verb(models.TextChoices):
        STARTED = "started", _("started")
        PAUSED = "paused", _("paused")
        CANCELLED = "cancelled", _("cancelled")
        RESUMED = "resumed", _("resumed")
        EXPORTED = "exported", _("exported the file as")
        DOWNLOADED = "downloaded", _("downloaded the file")
        UPLOADED = "uploaded", _("imported")
        CONFIGURED = "configured", _("changed the settings of")
        CORRECTED = "corrected", _("corrected in bulk")
        FOUND_WORSE = "worse", _("found worse than the previous round")
        RESTORED = "restored", _("rolled back to")
        DREW = "drew", _("drew a random sample of")
        UNDID = "undid", _("undid")
        INVITED = "invited", _("created an invitation as")
        REVOKED = "revoked", _("revoked an invitation as")
        JOINED = "joined", _("joined by invitation as")
        ADDED = "added", _("added the member")
        CHANGED_ROLE = "role", _("changed the role of")
        REMOVED = "removed", _("removed the member")
        PUT_AWAY = "put_away", _("archived the project")
        TOOK_BACK = "took_back", _("restored the project")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="activities")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    verb = models.CharField(max_length=12, choices=Verb.choices)
    what = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "activities"

    def __str__(self) -> str:
        return f"{self.user} {self.get_verb_display()} {self.what}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk:
            raise RuntimeError("An activity is written once; make a new one.")
        super().save(*args, **kwargs)


class SavedFilterQuerySet(models.QuerySet["SavedFilter"]):
    def visible_to(self, user: User) -> SavedFilterQuerySet:
        """The user's own, and those that others share."""
        return self.filter(Q(owner=user) | Q(is_shared=True))


class SavedFilter(models.Model):
    """A filter and an order of a project's table under a name, for its owner or for all members."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="saved_filters")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_filters"
    )
    name = models.CharField(_("name"), max_length=80)
    query = models.CharField(
        max_length=2_000, help_text=_("As it stands in the table's address, with its question mark.")
    )
    is_shared = models.BooleanField(_("for all members"), default=False)

    objects = SavedFilterQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "owner", "name"], name="saved_filters_differ")
        ]

    def __str__(self) -> str:
        return self.name


class RowMark(models.Model):
    """What people noted of a row beside its label: that no label fits it or it is unclear, that a colleague should look, a note."""

    sample = models.OneToOneField(Sample, on_delete=models.CASCADE, primary_key=True, related_name="mark")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="marks")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    unclear = models.BooleanField(default=False)
    for_colleague = models.BooleanField(default=False)
    note = models.TextField(blank=True, max_length=2_000)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"mark on row {self.sample_id}"
