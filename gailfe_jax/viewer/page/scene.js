// The model in three dimensions, a world and a canvas for each episode. They share shapes and the camera.

// Colours as a texture has them, as light.
function linear(colours) {
  const one = new THREE.Color();
  const light = new Float32Array(colours.length);
  for (let i = 0; i < colours.length; i += 3) {
    one.setRGB(colours[i], colours[i + 1], colours[i + 2], THREE.SRGBColorSpace).toArray(light, i);
  }
  return light;
}

class Stage {
  constructor(scene, meshes) {
    this.about = scene;
    this.worlds = [];
    this.surfaces = meshes.map(({ vertices, faces, colours }) => {
      const surface = new THREE.BufferGeometry();
      surface.setAttribute("position", new THREE.BufferAttribute(vertices, 3));
      if (colours) surface.setAttribute("color", new THREE.BufferAttribute(linear(colours), 3));
      surface.setIndex(new THREE.BufferAttribute(faces, 1));
      return THREE.toCreasedNormals(surface, 0.6);
    });
    this.shapes = new Map();
    this.camera = new THREE.PerspectiveCamera(scene.view.fovy, 1, scene.extent / 200, scene.extent * 60);
    this.camera.up.set(0, 0, 1);
    this.reset();
    this.dress();
  }

  reset() {
    const [x, y, z] = this.about.view.direction;
    this.around = Math.atan2(y, x);
    this.up = Math.asin(Math.max(-1, Math.min(1, z)));
    this.distance = this.about.view.distance;
  }

  turn(around, up) {
    this.around += around;
    this.up = Math.max(-0.3, Math.min(1.5, this.up + up));
  }

  zoom(by) {
    const { distance } = this.about.view;
    this.distance = Math.max(distance / 8, Math.min(distance * 6, this.distance * by));
  }

  // In the colours of the page, which may change.
  dress() {
    this.sky = new THREE.Color(css("--sky"));
    const tile = document.createElement("canvas");
    [tile.width, tile.height] = [64, 64];
    const pen = tile.getContext("2d");
    pen.fillStyle = css("--tile-a");
    pen.fillRect(0, 0, 64, 64);
    pen.fillStyle = css("--tile-b");
    pen.fillRect(0, 0, 32, 32);
    pen.fillRect(32, 32, 32, 32);
    this.tiles?.dispose();
    this.tiles = new THREE.CanvasTexture(tile);
    this.tiles.wrapS = THREE.RepeatWrapping;
    this.tiles.wrapT = THREE.RepeatWrapping;
    this.tiles.colorSpace = THREE.SRGBColorSpace;
    this.tiles.anisotropy = 8;
    // A tile is a twelfth of the model or so: 0.1, 0.2, 0.5, 1, ... metres.
    const wanted = this.about.extent / 8;
    const ten = 10 ** Math.floor(Math.log10(wanted));
    this.tile = 2 * ten * [1, 2, 5].reduce((best, size) => (size * ten <= wanted ? size : best), 1);
    this.worlds.forEach((world) => this.paint(world));
  }

  paint(world) {
    world.scene.background = this.sky;
    world.scene.fog = new THREE.Fog(this.sky, this.about.extent * 6, this.about.extent * 26);
    world.grounds.forEach((ground) => {
      ground.material.map = this.tiles;
      ground.material.needsUpdate = true;
    });
  }

  geometry(shape) {
    const [a, b, c] = shape.size;
    const key = JSON.stringify([shape.kind, shape.size, shape.mesh]);
    if (this.shapes.has(key)) return this.shapes.get(key);
    const upright = (made) => made.rotateX(Math.PI / 2);
    const made = {
      sphere: () => new THREE.SphereGeometry(a, 32, 20),
      ellipsoid: () => new THREE.SphereGeometry(1, 32, 20).scale(a, b, c),
      capsule: () => upright(new THREE.CapsuleGeometry(a, 2 * b, 10, 24)),
      cylinder: () => upright(new THREE.CylinderGeometry(a, a, 2 * b, 32)),
      box: () => new THREE.BoxGeometry(2 * a, 2 * b, 2 * c),
      mesh: () => this.surfaces[shape.mesh],
    }[shape.kind]();
    this.shapes.set(key, made);
    return made;
  }

  // A ground's sides; what is infinite reaches into the mist.
  plane(shape) {
    const far = 60 * this.about.extent;
    return new THREE.PlaneGeometry(...[0, 1].map((side) => (shape.size[side] > 0 ? 2 * shape.size[side] : far)));
  }

  // The world of one episode; null where the browser draws none.
  world(motion, canvas) {
    const context = canvas.getContext("webgl2", { antialias: true });
    if (!context) return null;
    const world = { motion, canvas, scene: new THREE.Scene(), bodies: [], grounds: [], segments: [] };
    world.renderer = new THREE.WebGLRenderer({ canvas, context, antialias: true });
    world.renderer.shadowMap.enabled = true;
    world.renderer.shadowMap.type = THREE.PCFShadowMap;
    const sun = new THREE.DirectionalLight(0xffffff, 2.2);
    const { extent } = this.about;
    sun.castShadow = true;
    sun.shadow.mapSize.set(1024, 1024);
    Object.assign(sun.shadow.camera, {
      left: -extent, right: extent, top: extent, bottom: -extent, near: 0.01 * extent, far: 6 * extent,
    });
    sun.shadow.bias = -0.0005;
    sun.shadow.normalBias = 0.001 * extent;
    world.sun = sun;
    world.scene.add(new THREE.HemisphereLight(0xffffff, 0x888c92, 1.6), sun, sun.target);
    const segments = this.about.tendons.flatMap((tendon) => Array(tendon.segments).fill(tendon));
    for (let i = 0; i < motion.bodies - 2 * segments.length; i++) world.bodies.push(new THREE.Group());
    if (world.bodies.length) world.scene.add(...world.bodies);
    this.about.shapes.forEach((shape) => this.add(world, shape));
    segments.forEach((tendon) => this.addSegment(world, tendon));
    this.worlds.push(world);
    this.paint(world);
    return world;
  }

  add(world, shape) {
    const [r, g, b, alpha] = shape.rgba;
    const ground = shape.kind === "plane";
    const material = new THREE.MeshStandardMaterial({
      color: ground ? 0xffffff : new THREE.Color().setRGB(r, g, b, THREE.SRGBColorSpace),
      roughness: ground ? 1 : 0.6, metalness: 0.05, transparent: alpha < 1, opacity: alpha,
      vertexColors: shape.kind === "mesh" && this.surfaces[shape.mesh].hasAttribute("color"),
    });
    const mesh = new THREE.Mesh(ground ? this.plane(shape) : this.geometry(shape), material);
    mesh.castShadow = !ground;
    mesh.receiveShadow = true;
    const [w, x, y, z] = shape.quat;
    mesh.position.set(...shape.pos);
    mesh.quaternion.set(x, y, z, w);
    let holder = world.bodies[shape.body];
    if (shape.body === null) {
      holder = new THREE.Group();
      const [qw, qx, qy, qz] = shape.rest.quat;
      holder.position.set(...shape.rest.pos);
      holder.quaternion.set(qx, qy, qz, qw);
      world.scene.add(holder);
    }
    holder.add(mesh);
    if (!ground) return;
    mesh.userData.infinite = shape.body === null && !(shape.size[0] > 0 && shape.size[1] > 0);
    this.tileGround(mesh);
    world.grounds.push(mesh);
  }

  // A straight piece of a tendon, of length 1 along y.
  addSegment(world, { width, rgba: [r, g, b, alpha] }) {
    const material = new THREE.MeshStandardMaterial({
      color: new THREE.Color().setRGB(r, g, b, THREE.SRGBColorSpace), roughness: 0.6, transparent: alpha < 1, opacity: alpha,
    });
    // Thinner than this it could not be seen.
    const radius = Math.max(width, this.about.extent / 400);
    const segment = new THREE.Mesh(new THREE.CylinderGeometry(radius, radius, 1, 10), material);
    segment.castShadow = true;
    world.segments.push(segment);
    world.scene.add(segment);
  }

  stretch(world, step) {
    const [from, to, turn, up] = [new THREE.Vector3(), new THREE.Vector3(), new THREE.Quaternion(), new THREE.Vector3(0, 1, 0)];
    world.segments.forEach((segment, i) => {
      const first = world.bodies.length + 2 * i;
      world.motion.at(step, first, from, turn);
      world.motion.at(step, first + 1, to, turn);
      const length = from.distanceTo(to);
      segment.visible = length > 1e-6 * this.about.extent;
      if (!segment.visible) return;
      segment.position.copy(from).add(to).multiplyScalar(0.5);
      segment.scale.set(1, length, 1);
      segment.quaternion.setFromUnitVectors(up, to.sub(from).divideScalar(length));
    });
  }

  // Tiles of one size in metres, wherever the ground is.
  tileGround(mesh) {
    const { position, uv } = mesh.geometry.attributes;
    for (let i = 0; i < position.count; i++) uv.setXY(i, position.getX(i) / this.tile, position.getY(i) / this.tile);
  }

  // Moves the bodies to a step.
  pose(world, step) {
    world.bodies.forEach((body, i) => world.motion.at(step, i, body.position, body.quaternion));
    this.stretch(world, step);
    const { body, target } = this.about.view;
    const looked = new THREE.Vector3(...target);
    if (body !== null) {
      const { position } = world.bodies[body];
      looked.x += position.x;
      looked.y += position.y;
      // A hop is seen as one; a climb or a fall is followed.
      world.height ??= position.z;
      const leeway = 0.15 * this.about.extent;
      world.height = Math.max(position.z - leeway, Math.min(position.z + leeway, world.height));
      looked.z += world.height;
    }
    world.looked = looked;
    const { extent } = this.about;
    world.sun.target.position.copy(looked);
    world.sun.position.set(looked.x - 0.6 * extent, looked.y - 0.9 * extent, looked.z + 2.2 * extent);
    // What is infinite goes along, by whole tiles.
    world.grounds.forEach((ground) => {
      if (!ground.userData.infinite) return;
      const snapped = new THREE.Vector3(...[looked.x, looked.y].map((v) => Math.round(v / this.tile) * this.tile), 0);
      ground.position.copy(ground.userData.at ??= ground.position.clone());
      const holder = ground.parent;
      const local = holder.worldToLocal(snapped).sub(ground.position);
      const normal = new THREE.Vector3(0, 0, 1).applyQuaternion(ground.quaternion);
      ground.position.add(local.addScaledVector(normal, -local.dot(normal)));
    });
  }

  draw(world, step) {
    const { canvas, renderer } = world;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== width || canvas.height !== height) renderer.setSize(width, height, false);
    this.pose(world, step);
    const { around, up, distance, camera } = this;
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    camera.position.set(
      world.looked.x + distance * Math.cos(up) * Math.cos(around),
      world.looked.y + distance * Math.cos(up) * Math.sin(around),
      world.looked.z + distance * Math.sin(up),
    );
    camera.lookAt(world.looked);
    renderer.render(world.scene, camera);
    canvas.dataset.step = step;
  }
}
