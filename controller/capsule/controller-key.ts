import type { KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createKeyFile, readKeyFile } from '@espalier/shared/signature/key-file'

/**
 * The key that signs this controller's capsules: made on the first start, readable by its user alone. Devices pin the
 * public half, so a controller that moves takes this file with it.
 *
 * @throws {ConfigError} If it is unreadable or cannot be written: a new key would be refused by the fleet.
 */
export function openControllerKey(dataDir: string): KeyObject {
  const path = join(dataDir, 'controller-key.pem')
  return existsSync(path) ? readKeyFile(path) : createKeyFile(path)
}
