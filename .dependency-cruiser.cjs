// The layers of src/, which imports go down only; see ARCHITECTURE.md.
const layers = [
  ['cmd'],
  ['cli', 'console', 'operator', 'control'],
  ['render', 'ca', 'xds', 'waypoint'],
  ['policy', 'model'],
  ['api'],
  ['errors'],
];
const within = (names) => `^src/(${names.join('|')})/`;

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    ...layers.slice(1).map((layer, below) => ({
      name: `${layer.join('-')}-does-not-import-upwards`,
      severity: 'error',
      from: { path: within(layer) },
      to: { path: within(layers.slice(0, below + 1).flat()) },
    })),
    {
      name: 'kube-grpc-and-limits-know-no-meshes',
      severity: 'error',
      from: { path: '^src/(kube|grpc|limits)/' },
      to: { path: '^src/', pathNot: '^src/(kube|grpc|limits|errors|telemetry)/' },
    },
    {
      // node:net is not among them: model reads addresses with its parsers, which do no I/O.
      name: 'pure-layers-do-no-io',
      severity: 'error',
      from: { path: '^src/(render|model|policy|waypoint)/' },
      to: {
        path: '^(node:)?(fs|http|https|http2|tls|dgram|child_process|timers)|^src/kube/(?!objects|service-account|client/resource-version)',
      },
    },
    {
      name: 'operator-and-control-are-processes-of-their-own',
      severity: 'error',
      from: { path: '^src/(operator|control)/' },
      to: { path: '^src/(operator|control)/', pathNot: '^src/$1/' },
    },
    {
      name: 'xds-knows-no-kubernetes',
      severity: 'error',
      from: { path: '^src/xds/' },
      to: { path: '^src/kube/' },
    },
    {
      name: 'product-does-not-import-hack',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(hack|test)/' },
    },
  ],
  options: {
    doNotFollow: { path: ['node_modules', 'proto/gen'] },
    tsPreCompilationDeps: true,
    parser: 'swc',
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.d.ts'] },
  },
};
