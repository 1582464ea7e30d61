"""What pages can do, for programs: REST under ``/api/v1/``. Who may do what is decided by the pages' own functions."""
