/** A containerd release; what comes after the third number (`~ds1`, `-k3s1`, `-rc.1`) changes nothing that matters here. */
export interface ContainerdVersion {
  readonly major: number;
  readonly minor: number;
}

/** Parses what containerd says it is: `v2.4.2`, `1.6.20~ds1`, `1.7.27-k3s1`. */
export function parseContainerdVersion(text: string): ContainerdVersion | undefined {
  const [, major, minor] = /^v?(\d{1,3})\.(\d{1,3})(?:\D|$)/.exec(text) ?? [];
  return major === undefined || minor === undefined ? undefined : { major: Number(major), minor: Number(minor) };
}

export function isAtLeast(version: ContainerdVersion, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}
