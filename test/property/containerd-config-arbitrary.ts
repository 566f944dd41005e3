import fc from 'fast-check';

/** Settings about images, by the part of a section that they stand in. */
interface Section {
  readonly registry: readonly string[];
  readonly containerd: readonly string[];
  readonly top: readonly string[];
  readonly hasRuntime: boolean;
}

const some = (lines: Readonly<Record<string, readonly string[]>>) =>
  fc
    .tuple(
      ...Object.entries(lines).map(([key, values]) =>
        fc.option(fc.constantFrom(...values.map((value) => `${key} = ${value}`))),
      ),
    )
    .map((picked) => picked.filter((line) => line !== null));

const section: fc.Arbitrary<Section> = fc.record({
  registry: some({ config_path: ['""', '"/a"', "'/b:/c'"] }),
  containerd: some({
    discard_unpacked_layers: ['true', 'false'],
    snapshotter: ['"native"', '"overlayfs"'],
    disable_snapshot_annotations: ['true', 'false'],
  }),
  top: some({ max_concurrent_downloads: ['3', '5'] }),
  hasRuntime: fc.boolean(),
});
const mirror = fc.constantFrom('', '', 'registry.example', 'other.example');

/** A table's header and its lines; nothing at all when it has none. */
const table = (header: string, lines: readonly string[]) =>
  lines.length === 0 ? '' : `[${header}]\n${lines.join('\n')}\n`;

/** The CRI section of version 1 and 2, under this name. */
const oldSection = (name: string) =>
  fc
    .tuple(section, mirror)
    .map(([{ registry, containerd, top, hasRuntime }, host]) =>
      [
        table(name, top),
        table(`${name}.containerd`, containerd),
        hasRuntime ? `[${name}.containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n` : '',
        table(`${name}.registry`, registry),
        host === '' ? '' : `[${name}.registry.mirrors."${host}"]\nendpoint = ["http://127.0.0.1"]\n`,
      ].join(''),
    );

const newSection = fc.tuple(section, mirror, fc.boolean()).map(([{ registry, containerd, top }, host, isLocal]) => {
  const name = 'plugins."io.containerd.cri.v1.images"';
  return [
    table(name, [...top, ...containerd, ...(isLocal ? ['use_local_image_pull = true'] : [])]),
    table(`${name}.registry`, registry),
    host === '' ? '' : `[${name}.registry.mirrors."${host}"]\nendpoint = ["http://127.0.0.1"]\n`,
  ].join('');
});

const header = fc.constantFrom(
  '',
  'version = 1\n',
  'version = 2\n',
  'version = 2\n',
  'version = 3\n',
  'version = 3\n',
  'version = 4\n',
);

const file = fc
  .tuple(
    header,
    fc.option(oldSection('plugins.cri'), { freq: 1, nil: '' }),
    fc.option(oldSection('plugins."io.containerd.grpc.v1.cri"'), { freq: 3, nil: '' }),
    fc.option(newSection, { freq: 2, nil: '' }),
  )
  .map((parts) => parts.join(''));

/** The texts of a configuration: the main file, and what it imports. Any section under any version. */
export const configFiles = fc.array(file, { minLength: 1, maxLength: 3 });
