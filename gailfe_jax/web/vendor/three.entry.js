// What the viewer uses of three.js. three.iife.min.js is made of it by
//   npm install three@0.187.0 esbuild@0.28.2
//   npx esbuild three.entry.js --bundle --minify --format=iife --global-name=THREE --legal-comments=none \
//     --outfile=three.iife.min.js
export {
  AmbientLight, BoxGeometry, BufferAttribute, BufferGeometry, CanvasTexture, CapsuleGeometry, Color, CylinderGeometry,
  DirectionalLight, Fog, Group, HemisphereLight, Matrix4, Mesh, MeshStandardMaterial, PCFShadowMap, PerspectiveCamera,
  PlaneGeometry, Quaternion, RepeatWrapping, Scene, ShadowMaterial, SphereGeometry, SRGBColorSpace, Vector3,
  WebGLRenderer,
} from "three";
export { toCreasedNormals } from "three/addons/utils/BufferGeometryUtils.js";
