"""Clients and servers of the previous version still understand ours: their recorded messages, byte for byte.

Recorded once, with the policy of these tests: its metadata, a request of `Remote`, and the answer.
"""

import numpy as np
import pytest
from vectors import joined
from websockets.sync.client import connect

from paradp.policy.requests import PlanRequest, plan_together
from paradp.policy.serving.answers import read_interface, read_plan
from paradp.policy.serving.sessions import Session
from paradp.policy.serving.wire import unpack

METADATA = bytes.fromhex(
    "8ba47461736ba57265616368ab6f62736572766174696f6e82a8706f736974696f6e82a57368617065920202a56474797065a7666c6f6174"
    "3332a8636f6e7374616e7482a57368617065920201a56474797065a7666c6f61743332a6616374696f6e82a57368617065920f02a5647479"
    "7065a7666c6f61743332ac616374696f6e5f706172747381a47374657002b1616374696f6e5f636f6e76656e74696f6ea564656c7461aa61"
    "6374696f6e5f6c6f7792cbbff0000000000000cbbff0000000000000ab616374696f6e5f6869676892cb3ff0000000000000cb3ff0000000"
    "000000ab616374696f6e5f73746570c0a8686f72697a6f6e7383a76f62736572766502a77072656469637410a76578656375746508aa636f"
    "6e74726f6c5f687a14a773616d706c6572b973706563756c61746976652d6464706d3a77696e646f773d38"
)
REQUEST = bytes.fromhex(
    "86a8706f736974696f6e84c40b5f5f6e6461727261795f5fc3c40464617461c410af3f8c3e08bdebbeb18977bff564203fc4056474797065"
    "a33c6634c4057368617065920202a8636f6e7374616e7484c40b5f5f6e6461727261795f5fc3c40464617461c40885056bbfb354533fc405"
    "6474797065a33c6634c4057368617065920201b17061726164702f6e6f6973655f7365656407ac7061726164702f677565737384c40b5f5f"
    "6e6461727261795f5fc3c40464617461c480dc635a3e2501eb3e1eb0b23dd0c15e3f8fb7213f0f997ebfb1fd363fdfcd6ebfcc2aeb3e7710"
    "26bf96f2393f3ed3a93d5318cdbe2a561ebe168071bff15d40bf2bb8ae3ed9b8963e084f6c3e763a6ebe4d927e3f0d30763fb8febd3eff11"
    "9a3e2ef8c03e2a7d63bea2d43abfd7cde23edeb34f3df44fc2bed012e8bcf36a473fc4056474797065a33c6634c4057368617065921002ad"
    "7061726164702f627564676574cb4004000000000000ab7061726164702f6b65657084c40b5f5f6e6461727261795f5fc3c40464617461c4"
    "400000803fefee6e3fdedd5d3fcdcc4c3fbcbb3b3fabaa2a3f9a99193f8988083fefeeee3ecdcccc3eabaaaa3e8988883ecdcc4c3e898808"
    "3e8988883d00000000c4056474797065a33c6634c40573686170659110"
)
ANSWER = bytes.fromhex(
    "89a7616374696f6e7384c40b5f5f6e6461727261795f5fc3c40464617461c47860a7173e28f9603fc0492e3ff0c87ebfc062be3e503e72bf"
    "00b18f3d120c3ebfe8861a3e90f8c63eb2ed23bf204428be504478bf80f7863de087bfbed0bacabe00f90f3e406c31bf779eabbe4035b1be"
    "e010553fa846503fc88039bfa82c58bf04c776bfa8fc6c3f60116ebf106975bf3882b3be60da413ec4056474797065a33c6634c405736861"
    "7065920f02ad706f6c6963795f74696d696e6784a8696e6665725f6d73cb40af3b8ad72ffd84a9656e636f64655f6d73cb3fe9c71f7946e0"
    "00aa64656e6f6973655f6d73cb40af39591819d1faa96465636f64655f6d73cb3fd2a9a3d2e38000ad7365727665725f74696d696e6782a8"
    "696e6665725f6d73cb40af44c3a2be0540ad707265765f746f74616c5f6d73cb0000000000000000ac7061726164702f77686f6c6584c40b"
    "5f5f6e6461727261795f5fc3c40464617461c480e0635a3e2001eb3e60a7173e28f9603fc0492e3ff0c87ebfc062be3e503e72bf00b18f3d"
    "120c3ebfe8861a3e90f8c63eb2ed23bf204428be504478bf80f7863de087bfbed0bacabe00f90f3e406c31bf779eabbe4035b1bee010553f"
    "a846503fc88039bfa82c58bf04c776bfa8fc6c3f60116ebf106975bf3882b3be60da413ec4056474797065a33c6634c40573686170659210"
    "02ac7061726164702f626174636801ad7061726164702f726f756e647301b27061726164702f6576616c756174696f6e7308af7061726164"
    "702f726573696475616ccb0000000000000000b07061726164702f636f6e766572676564c2"
)


@pytest.fixture
def request_before() -> PlanRequest:
    random = np.random.default_rng(0)
    history = random.uniform(-1, 1, (2, 3)).astype(np.float32)
    guess = random.uniform(-1, 1, (16, 2)).astype(np.float32)
    return PlanRequest(
        {"position": history[:, :2], "constant": history[:, 2:]}, 7, guess, 2.5, np.linspace(1, 0, 16, dtype=np.float32)
    )


def test_the_server_reads_a_request_of_the_previous_version(spec, request_before):
    read = Session(spec).read(REQUEST)
    for name in ("guess", "keep"):
        assert np.array_equal(getattr(read, name), getattr(request_before, name))
    assert np.array_equal(joined(read.history), joined(request_before.history))
    assert (read.noise_seed, read.budget) == (7, 2.5)


def test_the_server_sends_everything_that_the_previous_version_sent(serving, policy, request_before):
    """In the same types, so that the earlier client can read it; clients ignore unknown keys."""
    plan_together(policy, [request_before])  # compiles what it needs: the request has a budget of seconds
    with connect(serving.uri, compression=None, max_size=None, proxy=None) as connection:
        metadata = unpack(connection.recv())
        connection.send(REQUEST)
        answer = unpack(connection.recv(timeout=120))
    before = unpack(METADATA)
    assert {key: metadata[key] for key in before} == before
    assert shapes(answer) == shapes(unpack(ANSWER)) and list(answer) == list(unpack(ANSWER))
    assert list(answer["policy_timing"]) == list(unpack(ANSWER)["policy_timing"])
    assert np.array_equal(answer["actions"], plan_together(policy, [request_before])[0].actions)


def test_the_client_reads_messages_of_the_previous_version(spec):
    interface = read_interface(unpack(METADATA))
    for name in type(interface).__dataclass_fields__:
        assert getattr(interface, name) == getattr(spec, name)
    chunk, answer = read_plan(unpack(ANSWER), interface), unpack(ANSWER)
    assert np.array_equal(chunk.actions, answer["actions"]) and np.array_equal(chunk.whole, answer["paradp/whole"])
    for name in ("batch", "rounds", "evaluations", "residual", "converged"):
        assert getattr(chunk.stats, name) == answer[f"paradp/{name}"]
    for name, seconds in chunk.stats.timing.stages.items():
        assert seconds == answer["policy_timing"][f"{name}_ms"] / 1000
    assert chunk.stats.timing.seconds == sum(chunk.stats.timing.stages.values())


def shapes(message: dict) -> dict:
    """The content of a message without the numbers."""
    return {
        key: shapes(value)
        if isinstance(value, dict)
        else (type(value), getattr(value, "shape", None), getattr(value, "dtype", None))
        for key, value in message.items()
    }
