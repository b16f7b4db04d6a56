"""Generations of the authority: after each step, whoever trusts the roots of before or of after believes whoever signs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.identity.authority import CertificateAuthority, Svid, new_authority
from controlplane.identity.custody import decode, encode
from controlplane.identity.generations import (
    NOTICE,
    Generations,
    Impossible,
    Prepared,
    Step,
    activate,
    covering,
    fingerprint,
    first_generation,
    issuer_id,
    key_id,
    prepare,
    replaced,
    retire,
)
from controlplane.identity.mesh import MeshAuthority
from controlplane.identity.schedule import Due, Seen, Terms, due
from controlplane.identity.spiffe import WorkloadId
from tests.harness.authorities import older_authority, openssl_believes

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
CART = WorkloadId("shop", "cart")
KEY = ec.generate_private_key(ec.SECP256R1())
CSR = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def first(now: datetime = NOW) -> Generations:
    return covering(first_generation(new_authority("picket.test", now, YEAR)), HOUR)


def done(outcome: Generations | Impossible) -> Generations:
    assert isinstance(outcome, Generations), outcome
    return outcome


def chain(generations: Generations, now: datetime = NOW) -> list[x509.Certificate]:
    signed = MeshAuthority(generations).sign(CSR, CART, HOUR, now)
    assert isinstance(signed, Svid)
    return x509.load_pem_x509_certificates(signed.chain_pem)


def believes(roots: tuple[x509.Certificate, ...], shown: list[x509.Certificate], now: datetime = NOW) -> bool:
    """Whether who trusts these roots takes the chain for a client's, by a verifier that is none of ours."""
    try:
        PolicyBuilder().store(Store(list(roots))).time(now).build_client_verifier().verify(shown[0], shown[1:])
    except VerificationError:
        return False
    return True


def test_a_rotation_goes_from_one_root_to_another_and_back_to_one() -> None:
    before = first()
    prepared = done(prepare(before, NOW, YEAR))
    assert (prepared.next_step, len(prepared.roots)) == (Step.ACTIVATE, 2)
    assert prepared.active is before.active
    active = done(activate(prepared, NOW))
    assert prepared.prepared is not None
    assert active.active.certificate == prepared.prepared.authority.certificate
    assert (active.next_step, [key_id(root) for root in active.roots]) == (
        Step.RETIRE, [key_id(active.active.certificate), key_id(before.active.certificate)],
    )  # fmt: skip
    after = done(retire(active))
    assert (after.next_step, after.roots, after.active.intermediates_pem) == (Step.PREPARE, (active.active.certificate,), b"")
    assert len({fingerprint(one.bundle_pem) for one in (before, prepared, active, after)}) == 4


def test_a_step_out_of_turn_is_none() -> None:
    before = first()
    assert isinstance(activate(before, NOW), Impossible)
    assert isinstance(retire(before), Impossible)
    assert isinstance(prepare(done(prepare(before, NOW, YEAR)), NOW, YEAR), Impossible)


def test_who_slept_through_prepare_believes_the_new_one_and_who_trusts_only_the_new_one_does_too() -> None:
    before = first()
    active = done(activate(done(prepare(before, NOW, YEAR)), NOW))
    shown = chain(active)
    assert issuer_id(shown[0]) == key_id(active.active.certificate)
    assert believes(before.roots, shown)
    assert believes((active.active.certificate,), shown)
    assert not believes(first().roots, shown)


def test_after_it_is_retired_the_old_root_vouches_for_nobody() -> None:
    """Neither what it signed nor what it might sign: its holder is an outsider."""
    before = first()
    after = done(retire(done(activate(done(prepare(before, NOW, YEAR)), NOW))))
    assert len(chain(after)) == 1
    assert not believes(after.roots, chain(before))
    assert not believes(before.roots, chain(after))


def test_the_key_of_the_old_one_is_gone_once_the_new_one_signs() -> None:
    before = first()
    prepared = done(prepare(before, NOW, YEAR))
    written = b"".join(encode(done(activate(prepared, NOW))).values())
    assert written.count(b"BEGIN PRIVATE KEY") == 1
    assert b"".join(encode(prepared).values()).count(b"BEGIN PRIVATE KEY") == 2


def test_the_old_root_stays_for_as_long_as_the_longest_certificate_that_it_may_have_signed() -> None:
    grown = covering(first(), 30 * DAY)
    assert covering(grown, HOUR) is grown
    active = done(activate(done(prepare(grown, NOW, YEAR)), NOW + HOUR))
    assert active.old[0].signed_until == NOW + HOUR + 30 * DAY + NOTICE


def test_one_that_ended_before_it_was_followed_vouches_for_nobody() -> None:
    """Whoever keeps it elsewhere renewed it too late: the new one signs all the same, and the old root goes at once."""
    late = NOW + YEAR + DAY
    newer = Prepared(new_authority("picket.test", late, YEAR), late)
    active = done(activate(replace(first(), prepared=newer), late))
    assert len(chain(active, late)) == 1
    assert believes((newer.authority.certificate,), chain(active, late), late)
    assert due(active, Terms(YEAR, DAY, DAY), Seen(), late) == Due(Step.RETIRE)
    assert done(retire(active)).roots == (newer.authority.certificate,)


def test_a_root_that_allows_no_intermediate_is_followed_by_one_of_its_name() -> None:
    """The cross-signed certificate is then self-issued, which a path length does not count: RFC 5280 6.1.4."""
    now = datetime.now(UTC)
    before = covering(first_generation(older_authority("picket.test")), HOUR)
    active = done(activate(done(prepare(before, now, YEAR)), now))
    assert active.active.certificate.subject == before.active.certificate.subject
    shown = active.active.issue_server(("localhost",), HOUR, now)
    assert openssl_believes(before.bundle_pem, *shown)
    assert openssl_believes(active.active.bundle_pem, *shown)
    assert not openssl_believes(done(retire(active)).bundle_pem, *before.active.issue_server(("localhost",), HOUR, now))


def test_one_that_is_made_again_with_the_same_key_needs_no_old_root() -> None:
    before = first()
    again = new_authority("picket.test", NOW, YEAR)
    same = CertificateAuthority("picket.test", before.active.certificate, before.active.key)
    assert replaced(before, same, NOW).old == ()
    assert [old.certificate for old in replaced(before, again, NOW).old] == [before.active.certificate]


def taken(step: Step, generations: Generations, now: datetime) -> Generations | Impossible:
    if step is Step.PREPARE:
        return prepare(generations, now, YEAR)
    return activate(generations, now) if step is Step.ACTIVATE else retire(generations)


STEPS = st.lists(st.tuples(st.sampled_from(Step), st.integers(0, 48)), max_size=9)


@settings(max_examples=40)
@given(STEPS)
def test_in_any_order_of_steps_peers_one_step_apart_believe_each_other_and_what_is_written_reads_the_same(
    steps: list[tuple[Step, int]],
) -> None:
    """One step may be on its way: one side has it and the other has not. *Retire* waits until nothing the root signed is valid."""
    now = NOW
    held = first(now)
    signed = [(held.active.certificate, now, chain(held, now))]
    for step, hours in steps:
        now += hours * HOUR
        if step is Step.RETIRE and held.old and now < held.old[-1].signed_until:
            now = held.old[-1].signed_until
        outcome = taken(step, held, now)
        if isinstance(outcome, Impossible):
            continue
        shown = chain(outcome, now)
        assert believes(held.roots, shown, now)
        assert believes(outcome.roots, shown, now)
        signed.append((outcome.active.certificate, now, shown))
        valid = [each for _, at, each in signed if at + HOUR > now]
        assert all(believes(outcome.roots, each, now) for each in valid)
        assert encode(decode(encode(outcome), "picket.test", now, "here")) == encode(outcome)
        held = outcome
