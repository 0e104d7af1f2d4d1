/** A database of better-sqlite3, or of node:sqlite opened with `allowExtension: true`. */
export interface Database {
  loadExtension(path: string): unknown;
}

/** The path of the extension, as `loadExtension` takes it. Throws if this system has none. */
export function getLoadablePath(): string;

/**
 * Loads the extension, which registers the VFS for all databases of the process.
 *
 * The database may be any, also `:memory:`, and may be closed afterwards. Set
 * `process.env.VERSO_DEFAULT_VFS = "1"` before it for better-sqlite3, which opens no URIs.
 */
export function load(db: Database): void;
