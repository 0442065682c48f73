import mqtt from 'mqtt'

/** Of `mqtt`, built for browsers: it speaks over WebSockets there. */
export const { connect, connectAsync } = mqtt
