"""Views, pinhole cameras and LCN's conversion: against its numbers, and what a camera must leave unchanged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from langpose import cameras as c

LCN = np.load(Path(__file__).parent / "fixtures" / "lcn_camera_to_image.npz")
INTRINSICS = tuple(float(v) for v in LCN["camera"])


def person():
    """Stands at the origin, z up, faces -y: left is +x."""
    joints = np.zeros((17, 3))
    joints[:, 2] = np.linspace(0, 1.7, 17)
    joints[[4, 5, 6, 11, 12, 13], 0] = 0.2
    joints[[1, 2, 3, 14, 15, 16], 0] = -0.2
    return joints


def camera(position=(0, -5, 1.5), target=(0, 0, 1)):
    return c.Pinhole.look_at(np.array(position, float), np.array(target, float), 1145, 1143, 512, 515, 1000, 1002)


def test_conversion_equals_lcn():
    image, ratio = c.camera_to_image(LCN["pose_cam_mm"], *INTRINSICS)
    np.testing.assert_allclose(image, LCN["joint_3d_image"], atol=1e-9)
    np.testing.assert_allclose(ratio, LCN["ratio"], rtol=1e-12)
    np.testing.assert_allclose(c.two_and_half_d_factor(image, LCN["pose_cam_mm"]), LCN["lsq_lambda"], rtol=1e-12)


def test_conversion_and_its_inverse_are_identity():
    pose = LCN["pose_cam_mm"]
    image, ratio = c.camera_to_image(pose, *INTRINSICS)
    np.testing.assert_allclose(c.image_to_camera(image, ratio, pose[:, 0, 2], *INTRINSICS), pose, atol=1e-8)


def test_amass_axes_equal_motionberts():
    joints = LCN["amass_joints_in"].transpose(1, 0, 2)
    np.testing.assert_allclose(c.front_view(joints) * 0.298, LCN["amass_cam_out"], atol=1e-6)


@pytest.mark.parametrize("view", [c.front_view, c.side_view])
def test_a_view_is_a_rotation_that_keeps_up_up(view):
    axes = view(np.eye(3))
    np.testing.assert_allclose(np.linalg.det(axes), 1)
    assert view(np.array([0.0, 0, 1]))[1] == -1


def test_the_left_of_a_person_who_faces_the_camera_is_on_the_right_of_the_image():
    world = person()
    front = c.front_view(world)
    assert front[4, 0] > front[1, 0]
    pinhole = camera()
    image = pinhole.project(pinhole.to_camera(world))
    assert image[4, 0] > image[1, 0]
    assert image[16, 1] < image[0, 1]  # the head is above


def about_the_vertical(world, angle):
    cos, sin = np.cos(angle), np.sin(angle)
    return world @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])


def test_a_turned_view_is_the_view_of_a_turned_person():
    world = person() + np.array([0.0, 0.3, 0.0]) * np.arange(17)[:, None]
    for angle in (0.0, 0.7, -2.5):
        expected = c.front_view(about_the_vertical(world, angle))
        np.testing.assert_allclose(c.turned(c.front_view(world), angle), expected, atol=1e-12)
    np.testing.assert_allclose(c.turned(c.front_view(world), -np.pi / 2), c.side_view(world), atol=1e-12)


def test_moving_camera_and_person_together_leaves_the_image_unchanged():
    shift, angle = np.array([3.0, -1.0, 0.5]), 0.7
    first = camera()
    places = (about_the_vertical(np.array(point), angle) + shift for point in ([0.0, -5, 1.5], [0.0, 0, 1]))
    moved = camera(*places)
    world = about_the_vertical(person(), angle) + shift
    np.testing.assert_allclose(
        moved.project(moved.to_camera(world)), first.project(first.to_camera(person())), atol=1e-9
    )


def a_clip(frames=5):
    """A person who sways, in a front view far from the origin, float32 metres."""
    sway = np.sin(np.arange(frames))[:, None, None] * np.array([0.3, 0.0, 0.2])
    return (c.front_view(person() + np.array([7.0, 3.0, 0.0])) + sway).astype(np.float32)


def test_the_virtual_camera_gives_lcns_pixels_normalised():
    clip, virtual = a_clip(), c.VirtualCamera(900.0, 800, 600, distance_m=4.0)
    image = virtual.image(clip)
    centre = clip[:, 0].astype(np.float64).mean(0)
    for frame, joints in enumerate(clip.astype(np.float64)):
        ratio = (2000 * 900 / (1000 * (4 + joints[0, 2] - centre[2])) + 1) / 2000  # px a mm at the root
        for joint, (x, y, z) in enumerate(joints):
            depth = z - centre[2] + 4
            u, v = 900 * (x - centre[0]) / depth + 400, 900 * (y - centre[1]) / depth + 300
            expected = (u / 400 - 1, v / 400 - 600 / 800, 1000 * (z - joints[0, 2]) * ratio / 400)
            np.testing.assert_allclose(image[frame, joint], expected, atol=2e-6)


def test_a_unit_of_the_virtual_camera_is_what_it_says_at_its_distance():
    virtual = c.VirtualCamera(distance_m=20.0)
    clip = a_clip(1)
    image = virtual.image(clip)
    across = np.linalg.norm(image[0, 4, :2] - image[0, 1, :2]) * virtual.mm_per_unit
    assert across == pytest.approx(1000 * np.linalg.norm(clip[0, 4] - clip[0, 1]), rel=1e-3)  # both at the root's depth


def test_the_virtual_camera_steps_back_from_a_person_who_comes_close():
    clip = a_clip(60)
    clip[..., 2] -= np.linspace(0, 12, 60, dtype=np.float32)[:, None]  # walks 12 m towards the camera
    assert np.isfinite(c.VirtualCamera().image(clip)).all()
    assert np.abs(c.VirtualCamera().image(clip)[..., :2]).max() < 4  # 1.7 m of a person at 1 m
    with pytest.raises(ValueError, match="closest_m"):
        c.VirtualCamera(closest_m=0)


def test_what_lies_behind_a_camera_is_refused():
    pinhole = camera()
    with pytest.raises(ValueError, match="behind the camera"):
        pinhole.project(pinhole.to_camera(person() + np.array([0, -9.0, 0])))
    with pytest.raises(ValueError, match="behind the camera"):
        c.camera_to_image(-LCN["pose_cam_mm"], *INTRINSICS)
    with pytest.raises(ValueError, match="straight up or down"):
        camera((0, 0, 5), (0, 0, 1))


def test_normalising_and_back_is_identity_in_numpy_and_torch():
    px = np.random.default_rng(0).uniform(0, 1000, (5, 17, 3))
    normalised = c.pixel_to_normalised(px, 1000, 1002)
    assert normalised[..., 0].min() >= -1 and normalised[..., 0].max() <= 1
    np.testing.assert_allclose(c.normalised_to_pixel(normalised, 1000, 1002), px, atol=1e-9)
    torch.testing.assert_close(c.pixel_to_normalised(torch.tensor(px), 1000, 1002), torch.tensor(normalised))
