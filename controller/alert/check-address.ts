import { lookup as resolve } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { TransportError } from '@espalier/shared/errors'

/** Addresses that are not of the public Internet (IANA special-purpose registries), multicast included. */
const inner4 = new BlockList()
// Apart: a list takes IPv4 addresses for those IPv6 addresses that stand for them.
const inner6 = new BlockList()
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  inner4.addSubnet(network, prefix, 'ipv4')
for (const [network, prefix] of [
  ['::', 96],
  ['::ffff:0:0', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const)
  inner6.addSubnet(network, prefix, 'ipv6')

/** Whether an address is one of the public Internet. Those that carry an IPv4 address in them are taken to be none. */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address)
  if (version === 4) return !inner4.check(address, 'ipv4')
  return version === 6 && !inner6.check(address, 'ipv6')
}

const refusal = (host: string, address: string): TransportError =>
  new TransportError(
    `Cannot send to "${host}": found the address ${address}, expected a public one; name the host in "webhookAllow"`,
    { retryable: false },
  )

/** @throws {TransportError} If a host is an address that is not public, and not allowed. */
export function checkHost(host: string, allowed: ReadonlySet<string>): void {
  const name = host.replace(/^\[|\]$/g, '')
  if (!allowed.has(name) && isIP(name) !== 0 && !isPublicAddress(name)) throw refusal(host, name)
}

/**
 * Looks names up for `http.request`, and gives only addresses that may be connected to. What was checked is what is connected
 * to: a name that answers otherwise a moment later gains nothing.
 */
export function checkedLookup(allowed: ReadonlySet<string>): LookupFunction {
  return (host, options, done) => {
    resolve(host, { ...options, all: true }, (error, addresses) => {
      if (error !== null) {
        done(error, '', 0)
        return
      }
      const bad = allowed.has(host) ? undefined : addresses.find(({ address }) => !isPublicAddress(address))
      const [first] = addresses
      if (bad !== undefined) done(refusal(host, bad.address), '', 0)
      else if (options.all) done(null, addresses)
      else done(null, first!.address, first!.family)
    })
  }
}
