"""All action programs by name; see `scene` for what a program is."""

from langpose.demo import programs_daily, programs_gestures, programs_locomotion, programs_posture
from langpose.demo.scene import Program

PROGRAMS: dict[str, Program] = {
    **programs_locomotion.PROGRAMS,
    **programs_posture.PROGRAMS,
    **programs_gestures.PROGRAMS,
    **programs_daily.PROGRAMS,
}
