import { run } from './namespace.ts';

/** The folder of a Go module, as `k8s.io/kubernetes@v1.36.3`, read-only; it is fetched unless it is there. Throws ERR_LAB_COMMAND_FAILED. */
export async function fetchModule(module: string, signal: AbortSignal): Promise<string> {
  const { stdout } = await run(['go', 'mod', 'download', '-json', module], {}, signal);
  return (JSON.parse(stdout) as { readonly Dir: string }).Dir;
}
