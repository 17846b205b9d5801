"use strict";
// The player: one clip in four panels, its error in each frame, and the controls. Data: langpose/player.py.

function player(section, data) {
  const { limbs, left, right } = data.skeleton, joints = data.skeleton.joints.length;
  const find = selector => section.querySelector(selector);
  const side = joint => (left.includes(joint) ? "left" : right.includes(joint) ? "right" : "middle");
  const WIDTH = 200, HEIGHT = 240, MARGIN = 14; // of a panel's drawing
  const WIDE = 5; // degrees a key turns

  // best first; clips of equal gain as they came
  const ranked = data.clips.map(clip => ({ ...clip })).sort((a, b) => b.gain_mm - a.gain_mm);
  let chosen = ranked, clip = null, frame = 0, yaw = 0, speed = 1, playing = false, clock = 0, before = 0, scales = null;

  // Clips -------------------------------------------------------------------------------------------------------------

  function bytes(text) {
    return Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  }

  /** Unpack a clip when it is first shown: joints, errors (mm, a frame each), and what its panels have to hold. */
  function unpack(packed) {
    if (packed.errors) return packed;
    for (const name of ["image", "ours", "baseline", "truth"]) packed[name] = new Int16Array(bytes(packed[name]).buffer);
    packed.confidence = bytes(packed.confidence);
    packed.errors = { ours: errors(packed.ours, packed.truth), baseline: errors(packed.baseline, packed.truth) };
    packed.body = bodyFrame(packed);
    packed.view = imageFrame(packed);
    return packed;
  }

  /** MPJPE of every frame in mm: the mean over joints of the distance. */
  function errors(pose, truth) {
    const found = [];
    for (let start = 0; start < truth.length; start += joints * 3) {
      let sum = 0;
      for (let i = start; i < start + joints * 3; i += 3) {
        sum += Math.hypot(pose[i] - truth[i], pose[i + 1] - truth[i + 1], pose[i + 2] - truth[i + 2]);
      }
      found.push(sum / joints);
    }
    return found;
  }

  /** One scale for all poses of a clip, such that none leaves its panel however it is turned. */
  function bodyFrame(packed) {
    let radius = 1, top = Infinity, bottom = -Infinity;
    for (const pose of [packed.ours, packed.baseline, packed.truth]) {
      for (let i = 0; i < pose.length; i += 3) {
        radius = Math.max(radius, Math.hypot(pose[i], pose[i + 2]));
        top = Math.min(top, pose[i + 1]);
        bottom = Math.max(bottom, pose[i + 1]);
      }
    }
    const scale = Math.min((WIDTH / 2 - MARGIN) / radius, (HEIGHT - 2 * MARGIN) / Math.max(1, bottom - top));
    return { scale, middle: (top + bottom) / 2 };
  }

  /** The 2D panel follows the person: a centre for every frame (smoothed over half a second), one scale a clip. */
  function imageFrame(packed) {
    const boxes = [];
    for (let f = 0; f < packed.frames; f++) {
      let box = null;
      for (let j = f * joints; j < (f + 1) * joints; j++) {
        if (packed.confidence[j] < data.unsure * 255) continue; // where an unsure joint is says little
        const x = packed.image[2 * j], y = packed.image[2 * j + 1];
        box = box ? [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x), Math.max(box[3], y)] : [x, y, x, y];
      }
      boxes.push(box ?? boxes[f - 1] ?? null);
    }
    const first = boxes.find(box => box) ?? [-5000, -5000, 5000, 5000];
    const full = boxes.map(box => box ?? first), reach = Math.round(packed.rate_hz / 4);
    const centres = full.map((_, f) => {
      const near = full.slice(Math.max(0, f - reach), f + reach + 1);
      return [0, 1].map(k => near.reduce((sum, box) => sum + (box[k] + box[k + 2]) / 2, 0) / near.length);
    });
    let wide = 1, high = 1;
    full.forEach((box, f) => {
      wide = Math.max(wide, centres[f][0] - box[0], box[2] - centres[f][0]);
      high = Math.max(high, centres[f][1] - box[1], box[3] - centres[f][1]);
    });
    return { centres, scale: Math.min((WIDTH / 2 - MARGIN) / wide, (HEIGHT / 2 - MARGIN) / high) };
  }

  const signed = value => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)} mm`;
  const byRule = { gain: () => chosen[0], median: () => chosen[Math.floor(chosen.length / 2)], loss: () => chosen.at(-1) };

  function chooseAction(action) {
    chosen = ranked.filter(each => !action || each.action === action);
    find("#clip").replaceChildren(...chosen.map((each, i) => {
      const option = new Option(`${each.action}, ${each.subject}: ${each.name} (${signed(each.gain_mm)})`, String(i));
      return option;
    }));
    open(byRule.median());
  }

  function open(next) {
    clip = unpack(next);
    const place = chosen.indexOf(next);
    find("#clip").value = String(place);
    find("#previous").disabled = place === 0;
    find("#next").disabled = place === chosen.length - 1;
    for (const button of section.querySelectorAll("[data-rule]")) {
      button.setAttribute("aria-pressed", String(byRule[button.dataset.rule]() === next));
    }
    find("#frame").max = clip.frames - 1;
    drawErrors();
    seek(0);
  }

  // Panels ------------------------------------------------------------------------------------------------------------

  const panels = [...section.querySelectorAll(".panel")].map(panel => {
    const svg = panel.querySelector("svg"), source = panel.dataset.source, many = name => (_, i) => draw(svg, name);
    const ghosts = source === "ours" || source === "baseline" ? limbs.map(many("line")) : [];
    for (const ghost of ghosts) ghost.setAttribute("class", "ghost");
    return { source, svg, error: panel.querySelector(".error"), ghosts, lines: limbs.map(many("line")), dots: [...Array(joints)].map(many("circle")) };
  });

  /** Joints of the current frame on a panel: [x, y, depth]. Turned about the vertical, seen along the camera's axis. */
  function placed(pose) {
    const cos = Math.cos((yaw * Math.PI) / 180), sin = Math.sin((yaw * Math.PI) / 180), points = [];
    for (let i = frame * joints * 3; i < (frame + 1) * joints * 3; i += 3) {
      const [x, y, z] = [pose[i], pose[i + 1], pose[i + 2]];
      points.push([WIDTH / 2 + (x * cos + z * sin) * clip.body.scale, HEIGHT / 2 + (y - clip.body.middle) * clip.body.scale, z * cos - x * sin]);
    }
    return points;
  }

  function placedImage() {
    const [cx, cy] = clip.view.centres[frame], points = [];
    for (let j = frame * joints; j < (frame + 1) * joints; j++) {
      points.push([WIDTH / 2 + (clip.image[2 * j] - cx) * clip.view.scale, HEIGHT / 2 + (clip.image[2 * j + 1] - cy) * clip.view.scale, 0]);
    }
    return points;
  }

  function setLine(line, a, b) {
    line.setAttribute("x1", a[0].toFixed(2));
    line.setAttribute("y1", a[1].toFixed(2));
    line.setAttribute("x2", b[0].toFixed(2));
    line.setAttribute("y2", b[1].toFixed(2));
  }

  function drawPanels() {
    const truth = placed(clip.truth);
    for (const panel of panels) {
      const flat = panel.source === "image";
      const points = flat ? placedImage() : panel.source === "truth" ? truth : placed(clip[panel.source]);
      const unsure = joint => flat && clip.confidence[frame * joints + joint] < data.unsure * 255;
      panel.ghosts.forEach((line, i) => setLine(line, truth[limbs[i][0]], truth[limbs[i][1]]));
      // far limbs first, so that near ones lie over them
      const order = limbs.map(([a, b]) => [a, b]).sort(([a, b], [c, d]) => points[c][2] + points[d][2] - points[a][2] - points[b][2]);
      order.forEach(([a, b], i) => {
        panel.lines[i].setAttribute("class", `limb ${side(b)}${unsure(a) || unsure(b) ? " unsure" : ""}`);
        setLine(panel.lines[i], points[a], points[b]);
      });
      panel.dots.forEach((dot, joint) => {
        dot.setAttribute("class", `joint ${side(joint)}${unsure(joint) ? " unsure" : ""}`);
        dot.setAttribute("r", flat ? 2.6 : 2);
        dot.setAttribute("cx", points[joint][0].toFixed(2));
        dot.setAttribute("cy", points[joint][1].toFixed(2));
      });
      if (clip.errors[panel.source]) panel.error.textContent = `${clip.errors[panel.source][frame].toFixed(1)} mm`;
    }
  }

  // Errors ------------------------------------------------------------------------------------------------------------

  const curves = find(".errors svg");
  let marks = null;

  function drawErrors() {
    const times = clip.errors.ours.map((_, f) => f / clip.rate_hz), all = [...clip.errors.ours, ...clip.errors.baseline];
    scales = axes(curves, [0, times.at(-1) || 1 / clip.rate_hz], [0, Math.max(1, ...all) * 1.08], "time, s", "error (MPJPE), mm");
    for (const name of ["baseline", "ours"]) draw(curves, "path", { class: `line ${name}`, d: path(times, clip.errors[name], scales) });
    marks = draw(curves, "g", { class: "now" });
    draw(marks, "line", { class: "cursor", y1: scales.edge.top, y2: scales.edge.bottom });
    for (const name of ["baseline", "ours"]) draw(marks, "circle", { class: `dot ${name}`, r: 4.5 });
  }

  function drawMarks() {
    const x = scales.toX(frame / clip.rate_hz), [cursor, ...dots] = marks.children;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    ["baseline", "ours"].forEach((name, i) => {
      dots[i].setAttribute("cx", x);
      dots[i].setAttribute("cy", scales.toY(clip.errors[name][frame]));
    });
  }

  function drawNumbers() {
    const ours = clip.errors.ours[frame], base = clip.errors.baseline[frame], row = find("#numbers");
    row.replaceChildren();
    for (const [name, value] of [
      ["Frame", `${frame + 1} of ${clip.frames}, ${(frame / clip.rate_hz).toFixed(2)} s`],
      ["LangPose", `${ours.toFixed(1)} mm`],
      ["Baseline", `${base.toFixed(1)} mm`],
      ["Gain in this frame", signed(base - ours)],
      ["Gain over the clip", signed(clip.gain_mm)],
    ]) put(put(row, "span", `${name} `), "b", value);
  }

  // Time and view -----------------------------------------------------------------------------------------------------

  function seek(to) {
    frame = Math.max(0, Math.min(clip.frames - 1, Math.round(to)));
    clock = frame;
    show();
  }

  function show() {
    const bar = find("#frame");
    bar.value = frame;
    bar.setAttribute("aria-valuetext", `frame ${frame + 1} of ${clip.frames}`);
    drawPanels();
    drawMarks();
    drawNumbers();
  }

  function play(on) {
    playing = on;
    find("#play").textContent = on ? "Pause" : "Play";
    if (!on) return;
    before = performance.now();
    requestAnimationFrame(advance);
  }

  function advance(now) {
    if (!playing) return;
    // a page in the background gets no frames: do not make up for them
    clock += Math.max(0, Math.min(0.1, (now - before) / 1000)) * clip.rate_hz * speed;
    before = now;
    if (clock >= clip.frames) clock = 0; // over again
    if (Math.floor(clock) !== frame) {
      frame = Math.floor(clock);
      show();
    }
    requestAnimationFrame(advance);
  }

  function turn(to) {
    yaw = ((((Math.round(to) + 180) % 360) + 360) % 360) - 180;
    if (to === 180) yaw = 180; // the slider's own end
    find("#yaw").value = yaw;
    find("#yaw").setAttribute("aria-valuetext", `${Math.round(yaw)} degrees`);
    drawPanels();
  }

  // Controls ----------------------------------------------------------------------------------------------------------

  find("#action").addEventListener("change", event => chooseAction(event.target.value));
  find("#clip").addEventListener("change", event => open(chosen[+event.target.value]));
  find("#previous").addEventListener("click", () => open(chosen[chosen.indexOf(clip) - 1]));
  find("#next").addEventListener("click", () => open(chosen[chosen.indexOf(clip) + 1]));
  for (const button of section.querySelectorAll("[data-rule]")) {
    button.addEventListener("click", () => open(byRule[button.dataset.rule]()));
  }
  find("#play").addEventListener("click", () => play(!playing));
  find("#frame").addEventListener("input", event => seek(+event.target.value));
  find("#speed").addEventListener("change", event => { speed = +event.target.value; });
  find("#yaw").addEventListener("input", event => turn(+event.target.value));
  find("#reset").addEventListener("click", () => turn(0));

  section.addEventListener("keydown", event => {
    const control = event.target.closest("button, select, input");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && (!control || control.type === "range")) play(!playing);
    else if (control) return; // its own keys
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const way = event.key === "ArrowLeft" ? -1 : 1;
      event.shiftKey ? turn(yaw + way * WIDE) : seek(frame + way);
    } else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(clip.frames - 1);
    else if (event.key === "0") turn(0);
    else return;
    event.preventDefault();
  });

  /** Call `move(event)` while the pointer is held down on `target`. */
  function dragging(target, start, move) {
    target.addEventListener("pointerdown", event => {
      target.setPointerCapture(event.pointerId);
      target.classList.add("held");
      start(event);
    });
    target.addEventListener("pointermove", event => { if (target.hasPointerCapture(event.pointerId)) move(event); });
    for (const name of ["pointerup", "pointercancel"]) target.addEventListener(name, () => target.classList.remove("held"));
  }

  for (const { svg, source } of panels) {
    if (source === "image") continue;
    let from = 0, at = 0;
    dragging(svg, event => { [from, at] = [event.clientX, yaw]; }, event => turn(at + (event.clientX - from) * 0.6));
  }
  const toPointer = event => seek(scales.valueAt(event.clientX - curves.getBoundingClientRect().left) * clip.rate_hz);
  dragging(curves, toPointer, toPointer);

  new ResizeObserver(() => { drawErrors(); drawMarks(); }).observe(curves);
  chooseAction("");
}

const playerData = document.getElementById("player-data");
if (playerData) player(document.getElementById("player"), JSON.parse(playerData.textContent));
