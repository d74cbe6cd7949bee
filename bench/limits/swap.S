/* swap.S - swap.h for x86-64 and AArch64. A suspended stack, from its stack pointer up: where to go on, then the registers.
 *
 * It ends in a jump: the return predictor knows the call that led here, not the one that led to the other side. */
#if defined(__x86_64__) && defined(__LP64__)
    .text
    .p2align 5
    .globl swap
    .type swap, @function
swap:                           /* rdi: from, rsi: to */
    popq %rdx
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rdx
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    popq %rdx
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    jmpq *%rdx
    .size swap, . - swap

    .globl swap_prepare
    .type swap_prepare, @function
swap_prepare:                   /* rdi: to, rsi: memory, rdx: size, rcx: entry */
    leaq (%rsi, %rdx), %rax
    andq $-16, %rax
    movq $0, -8(%rax)           /* entry's return address */
    leaq -64(%rax), %rax
    movq %rcx, (%rax)
    movq %rax, (%rdi)
    ret
    .size swap_prepare, . - swap_prepare
#elif defined(__aarch64__) && defined(__LP64__)
    .text
    .p2align 5
    .globl swap
    .type swap, %function
swap:                           /* x0: from, x1: to */
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    ldr x9, [x1]
    mov sp, x9
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    br x30
    .size swap, . - swap

    .globl swap_prepare
    .type swap_prepare, %function
swap_prepare:                   /* x0: to, x1: memory, x2: size, x3: entry */
    add x9, x1, x2
    and x9, x9, #-16
    sub x9, x9, #160
    stp xzr, x3, [x9, #80]
    str x9, [x0]
    ret
    .size swap_prepare, . - swap_prepare
#endif
#if defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
