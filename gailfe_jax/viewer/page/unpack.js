// What gailfe_jax/viewer/packing.py has packed.

// Whole numbers from 0 to 65535, column after column of `rows` each.
async function unpacked(text, rows, columns) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const numbers = new Uint16Array(rows * columns);
  for (let column = 0, i = 0; column < columns; column++) {
    for (let row = 0, value = 0; row < rows; row++, i++) {
      value = (value + planes[i] + (planes[numbers.length + i] << 8)) & 65535;
      numbers[i] = value;
    }
  }
  return numbers;
}

async function unpackMesh(mesh) {
  const [places, corners] = await Promise.all([
    unpacked(mesh.places, mesh.vertices, 3), unpacked(mesh.corners, mesh.faces, 3),
  ]);
  const vertices = new Float32Array(3 * mesh.vertices);
  const faces = new Uint32Array(3 * mesh.faces);
  for (let axis = 0; axis < 3; axis++) {
    for (let i = 0; i < mesh.vertices; i++) {
      vertices[3 * i + axis] = mesh.scale.low[axis] + mesh.scale.step[axis] * places[axis * mesh.vertices + i];
    }
    for (let i = 0; i < mesh.faces; i++) faces[3 * i + axis] = corners[axis * mesh.faces + i];
  }
  if (!mesh.colours) return { vertices, faces };
  const levels = await unpacked(mesh.colours, mesh.vertices, 3);
  const colours = new Float32Array(3 * mesh.vertices);
  for (let i = 0; i < colours.length; i++) colours[3 * (i % mesh.vertices) + Math.floor(i / mesh.vertices)] = levels[i] / 255;
  return { vertices, faces, colours };
}

// Where the bodies of an episode are, at steps and between them.
class Motion {
  static async of(poses, steps) {
    const motion = new Motion();
    Object.assign(motion, poses, { steps, numbers: await unpacked(poses.numbers, poses.rows, 7 * poses.bodies) });
    return motion;
  }

  column(number, row) {
    return this.numbers[number * this.rows + row];
  }

  // Writes to `place` and `turn`.
  at(step, body, place, turn) {
    const last = this.rows - 1;
    const row = Math.max(0, Math.min(Math.floor(step / this.every), last - 1));
    const next = Math.min(row + 1, last);
    const [from, to] = [row * this.every, next === last ? this.steps : next * this.every];
    const share = to > from ? Math.max(0, Math.min(1, (step - from) / (to - from))) : 0;
    const between = (number) => this.column(number, row) * (1 - share) + this.column(number, next) * share;
    const { low, step: size } = this.scale;
    place.set(...[0, 1, 2].map((axis) => low[axis] + size[axis] * between(3 * body + axis)));
    const [w, x, y, z] = [0, 1, 2, 3].map((k) => between(3 * this.bodies + 4 * body + k) - 32767);
    turn.set(x, y, z, w).normalize();
  }
}
