/* switch_x86_64.S - wf_switch for the System V ABI on x86-64; context.h has the contract.
 *
 * A suspended stack, from its stack pointer up: r15 r14 r13 r12 rbx rbp, and the address to go on at. That address is
 * popped and jumped to: a `ret` there is mispredicted every time, because the return predictor remembers the call that
 * led into this switch and not the one that led into the other (31.6 ns a pair with ret, 5.6 with jmp).
 *
 * mxcsr and the x87 control word are not saved. Neither is marked for CET here (no .note.gnu.property), so that a
 * program linked with this never runs with a shadow stack, which a switch without `ret` would unbalance.
 *
 * The CFI of wf_switch holds before and after the stack pointer changes, since both stacks have the same layout. */
#if defined(__ELF__) && defined(__LP64__) && defined(__x86_64__) && \
    !(defined(WF_SWITCH_UCONTEXT) && WF_SWITCH_UCONTEXT)

    .text

/* void *wf_switch(void **save_sp: rdi, void *load_sp: rsi, void *value: rdx), which returns the other side's value */
    .p2align 5
    .globl wf_switch
    .hidden wf_switch
    .globl wf_switch_code
    .hidden wf_switch_code
    .type wf_switch, @function
    .type wf_switch_code, @function
wf_switch_code:
wf_switch:
    .cfi_startproc
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    movq %rdx, %rax
    jmpq *%rcx
    .cfi_endproc
    .size wf_switch, . - wf_switch

/* void *wf_switch_prepare(void *stack_top: rdi, void (*entry)(void *): rsi, void *arg: rdx)
 * The frame is 7 words, so that the stack pointer is a multiple of 16 when wf_switch_entry begins. */
    .p2align 4
    .globl wf_switch_prepare
    .hidden wf_switch_prepare
    .type wf_switch_prepare, @function
wf_switch_prepare:
    .cfi_startproc
    andq $-16, %rdi
    leaq -56(%rdi), %rax
    xorl %ecx, %ecx
    movq %rcx, 0(%rax)      /* r15 */
    movq %rcx, 8(%rax)      /* r14 */
    movq %rdx, 16(%rax)     /* r13: arg */
    movq %rsi, 24(%rax)     /* r12: entry */
    movq %rcx, 32(%rax)     /* rbx */
    movq %rcx, 40(%rax)     /* rbp: frame-pointer unwinders stop at 0 */
    leaq wf_switch_entry(%rip), %rcx
    movq %rcx, 48(%rax)
    ret
    .cfi_endproc
    .size wf_switch_prepare, . - wf_switch_prepare

/* The outermost frame of a stack: its return address is undefined, so unwinders end here. The nop is for them too: they
 * look up the byte before a return address, and before the first switch that address is wf_switch_entry itself. */
    .p2align 4
    .type wf_switch_entry, @function
    .cfi_startproc
    .cfi_undefined rip
    nop
wf_switch_entry:
    movq %r13, %rdi
    callq *%r12
    ud2
    .cfi_endproc
    .size wf_switch_entry, . - wf_switch_entry

#endif
#if defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
