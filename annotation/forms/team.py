"""Members, roles, sign-up and invitations."""

from __future__ import annotations

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UserCreationForm, UsernameField
from django.contrib.auth.models import User
from django.utils.translation import gettext_lazy as _

from annotation.models import ApiToken, Role


class MemberForm(forms.Form):
    username = forms.CharField(
        label=_("User name"), max_length=150, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.REVIEWER)

    def clean_username(self) -> User:
        name = self.cleaned_data["username"]
        user = User.objects.filter(username=name, is_active=True).first()
        if user is None:
            raise forms.ValidationError(
                _(
                    "There is no account named “%(name)s”. Send an invitation link instead: it also lets the person create an account."
                )
                % {"name": name}
            )
        return user


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


class LoginForm(AuthenticationForm):
    """Django's form, with a user name that is as long as its column at most."""

    username = UsernameField(
        max_length=150, widget=forms.TextInput(attrs={"autofocus": True, "maxlength": 150})
    )

    def full_clean(self) -> None:
        super().full_clean()
        if self.has_error("username"):  # what was sent is not sent back: it may be megabytes
            self.data = {}


class SignupForm(UserCreationForm):  # type: ignore[type-arg]
    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username",)


class InvitationForm(forms.Form):
    role = forms.ChoiceField(
        label=_("Role"),
        choices=[(Role.REVIEWER.value, Role.REVIEWER.label), (Role.VIEWER.value, Role.VIEWER.label)],
    )
    days = forms.IntegerField(label=_("Valid for (days)"), min_value=1, max_value=90, initial=7)
    once = forms.BooleanField(
        label=_("For one person only"),
        required=False,
        initial=True,
        help_text=_("Otherwise anyone with the link can join until it expires or is revoked."),
    )


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("Name"),
        max_length=80,
        help_text=_("Where it is used, such as “nightly import”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scope = forms.ChoiceField(label=_("Scope"), choices=ApiToken.Scope.choices)
    days = forms.IntegerField(
        label=_("Valid for (days)"),
        min_value=1,
        max_value=3_650,
        required=False,
        help_text=_("Left empty, it is valid until it is revoked."),
    )


class TeamForm(forms.Form):
    guidelines = forms.CharField(
        label=_("Guidelines"),
        widget=forms.Textarea(attrs={"rows": 14}),
        max_length=50_000,
        required=False,
        help_text=_("Markdown: # headings, * lists, **bold**, tables. Shown beside every row."),
    )
    double_review_percent = forms.IntegerField(
        label=_("Rows labelled by two people (%)"),
        min_value=0,
        max_value=100,
        help_text=_(
            "A second person labels them without seeing anyone's label. This measures how often people agree."
        ),
    )
