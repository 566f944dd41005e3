/** A containerd release; what comes after the third number (`~ds1`, `-k3s1`, `-rc.1`) changes nothing that matters here. */
export interface ContainerdVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/** Parses what containerd says it is: `v2.4.2`, `1.6.20~ds1`, `1.7.27-k3s1`. */
export function parseContainerdVersion(text: string): ContainerdVersion | undefined {
  const [, major, minor, patch] = /^v?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,4}))?(?:\D|$)/.exec(text) ?? [];
  if (major === undefined || minor === undefined) return undefined;
  return { major: Number(major), minor: Number(minor), patch: Number(patch ?? 0) };
}

export function isAtLeast(version: ContainerdVersion, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}
