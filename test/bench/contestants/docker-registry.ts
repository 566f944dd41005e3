import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { freePort, untilListening } from './ports.ts';
import { type Contestant, contestant } from './process.ts';

export interface DockerRegistry extends Contestant {
  readonly registry: string;
}

/** Debian's docker-registry on a folder of blobs, with its log off. The blobs are linked into its layout, not copied. */
export async function startDockerRegistry(folder: string, repository: string): Promise<DockerRegistry> {
  const root = path.join(folder, '..', 'docker-registry');
  const base = path.join(root, 'docker/registry/v2');
  for (const hex of await fs.readdir(folder)) {
    const blob = path.join(base, 'blobs/sha256', hex.slice(0, 2), hex);
    await fs.mkdir(blob, { recursive: true });
    await fs.link(path.join(folder, hex), path.join(blob, 'data'));
    for (const kind of ['_layers/sha256', '_manifests/revisions/sha256']) {
      const link = path.join(base, 'repositories', repository, kind, hex);
      await fs.mkdir(link, { recursive: true });
      await fs.writeFile(path.join(link, 'link'), `sha256:${hex}`);
    }
  }
  const port = await freePort();
  const config = path.join(root, 'config.yml');
  await fs.writeFile(
    config,
    `version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { cache: { blobdescriptor: inmemory }, filesystem: { rootdirectory: ${root} } }
http: { addr: "127.0.0.1:${port}" }
`,
  );
  const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  const failed = new Promise<never>((_, reject) => {
    child.once('error', (cause) =>
      reject(new Error('docker-registry is missing: apt-get install docker-registry', { cause })),
    );
  });
  await Promise.race([untilListening(port), failed]);
  return { ...contestant(child), registry: `127.0.0.1:${port}` };
}
